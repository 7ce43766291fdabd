import { describe, expect, it } from 'vitest'
import { strengthOf } from './password'

describe('the strength of a password', () => {
  it.each([
    ['', 'short'],
    ['correct h', 'short'],
    // Nine characters, each of them two units of UTF-16.
    ['𠀀𠀁𠀂𠀃𠀄𠀅𠀆𠀇𠀈', 'short'],
    ['a'.repeat(129), 'long'],
    ['aaaaaaaaaaaaaaaa', 'weak'],
    ['abababababab', 'weak'],
    ['abcdefghijkl', 'weak'],
    ['0987654321', 'weak'],
    ['20261124085', 'weak'],
    ['orchard di', 'fair'],
    ['orchard ditch lantern', 'good'],
    ['青苗补偿调解和为贵二零二六', 'fair'],
    ['青苗补偿调解和为贵二零二六年', 'good'],
  ])('%j is %s', (password, strength) => {
    expect(strengthOf(password)).toBe(strength)
  })
})
