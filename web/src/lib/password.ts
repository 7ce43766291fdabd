// How good a password is, in a word. The server decides what it takes; this helps before it is asked.

export const PASSWORD_MIN = 10
export const PASSWORD_MAX = 128

export type Strength = 'short' | 'long' | 'weak' | 'fair' | 'good'

/** Judges by length and by how many different characters there are: rules about kinds of characters make worse
 * passwords (NIST SP 800-63B). */
export function strengthOf(password: string): Strength {
  const characters = [...password]
  if (characters.length < PASSWORD_MIN) return 'short'
  if (characters.length > PASSWORD_MAX) return 'long'
  const different = new Set(characters).size
  if (different < 5 || isRun(characters)) return 'weak'
  if (/^\d+$/.test(password) && characters.length < 16) return 'weak'
  return characters.length >= 14 && different >= 8 ? 'good' : 'fair'
}

/** Each character follows the one before: `abcdefghij`, `0987654321`. */
function isRun(characters: string[]): boolean {
  const steps = characters.slice(1).map((character, index) => character.charCodeAt(0) - characters[index]!.charCodeAt(0))
  const first = steps[0]
  return (first === 1 || first === -1) && steps.filter((step) => step === first).length >= steps.length - 1
}
