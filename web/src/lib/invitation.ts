// An invitation link: `/join#CODE`, or `/join#CODE&name=NAME` so that the name is there already. What follows `#` is
// not sent to any server when the link is opened.

export interface InvitationLink {
  code: string
  name: string
}

export function readInvitation(hash: string): InvitationLink {
  const [code = '', ...rest] = hash.replace(/^#/, '').split('&')
  const name = new URLSearchParams(rest.join('&')).get('name') ?? ''
  return { code, name: name.slice(0, 60) }
}

export function writeInvitation(origin: string, path: string, name: string): string {
  return `${origin}${path}&${new URLSearchParams({ name }).toString()}`
}
