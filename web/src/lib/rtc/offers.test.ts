import { describe, expect, it } from 'vitest'
import { OfferQueue } from './offers'

describe('offers', () => {
  it('counts up by one from 1', () => {
    const queue = new OfferQueue()
    expect(queue.want()).toBe(1)
    expect(queue.settled()).toBeNull()
    expect(queue.want()).toBe(2)
  })

  it('never puts two in flight, and sends one more afterwards however often it was asked', () => {
    const queue = new OfferQueue()
    expect(queue.want()).toBe(1)
    expect(queue.want()).toBeNull()
    expect(queue.want()).toBeNull()
    expect(queue.settled()).toBe(2)
    expect(queue.want()).toBeNull()
    expect(queue.settled()).toBe(3)
    expect(queue.settled()).toBeNull()
  })

  it('waits no more for what was in flight when the way to the server broke', () => {
    const queue = new OfferQueue()
    queue.want()
    queue.want()
    queue.forget()
    expect(queue.expects(1)).toBe(false)
    expect(queue.want()).toBe(2)
    expect(queue.settled()).toBeNull()
  })

  it('expects only the answer of the offer in flight', () => {
    const queue = new OfferQueue()
    expect(queue.expects(0)).toBe(false)
    expect(queue.expects(1)).toBe(false)
    queue.want()
    expect(queue.expects(1)).toBe(true)
    expect(queue.expects(2)).toBe(false)
    queue.settled()
    expect(queue.expects(1)).toBe(false)
  })
})
