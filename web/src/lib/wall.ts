// The arithmetic of a wall: how many columns, and where an arrow key leads.

/** 1, 2×2, 3×3, 4×4 or 5×5: the smallest that holds `count` tiles. */
export function columnsFor(count: number): number {
  return Math.min(5, Math.max(1, Math.ceil(Math.sqrt(count))))
}

/** The tile that an arrow key leads to from `index`. At an edge it stays. */
export function step(index: number, key: string, count: number): number {
  const columns = columnsFor(count)
  const column = index % columns
  let next = index
  if (key === 'ArrowLeft' && column > 0) next = index - 1
  else if (key === 'ArrowRight' && column < columns - 1) next = index + 1
  else if (key === 'ArrowUp') next = index - columns
  else if (key === 'ArrowDown') next = index + columns
  return next >= 0 && next < count ? next : index
}
