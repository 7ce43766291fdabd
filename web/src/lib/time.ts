// Times as people read them: Beijing time, whatever the computer is set to.

const ZONE = 'Asia/Shanghai'

const CLOCK = new Intl.DateTimeFormat('zh-CN', {
  timeZone: ZONE,
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
})

const DATE = new Intl.DateTimeFormat('zh-CN', { timeZone: ZONE, year: 'numeric', month: '2-digit', day: '2-digit' })

/** `23:05:09` */
export function clock(time: string | number | Date): string {
  const date = new Date(time)
  return Number.isNaN(date.getTime()) ? '' : CLOCK.format(date)
}

/** `2026-11-24` */
export function day(time: string | number | Date): string {
  const date = new Date(time)
  return Number.isNaN(date.getTime()) ? '' : DATE.format(date).replaceAll('/', '-')
}

/** `2026-11-24 23:05:09` */
export function dateTime(time: string | number | Date): string {
  return `${day(time)} ${clock(time)}`.trim()
}

/** `1:02:03`, or `2:03` below an hour. */
export function duration(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000))
  const two = (value: number) => String(value).padStart(2, '0')
  const hours = Math.floor(seconds / 3600)
  const minutes = Math.floor(seconds / 60) % 60
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`
}
