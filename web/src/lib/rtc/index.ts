// What other code may use of this folder; README.md shows how. The rest is how it is done.

export { Room } from './room'
export type { OwnTracks, Phase, RoomOptions, RoomState } from './room'
export type { SourceTracks } from './media'
export type { Quality } from './quality'
