// Random numbers that come again with their seed.

/** mulberry32: small, and good enough to pick from lists. */
export class Random {
  constructor(seed) {
    this.state = seed >>> 0;
  }
  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }
  below(n) {
    return Math.floor(this.next() * n);
  }
  chance(p) {
    return this.next() < p;
  }
  pick(list) {
    return list[this.below(list.length)];
  }
  /** From [weight, item] pairs. */
  weighed(pairs) {
    let at = this.next() * pairs.reduce((sum, [weight]) => sum + weight, 0);
    for (const [weight, item] of pairs) if ((at -= weight) < 0) return item;
    return pairs[0][1];
  }
  times(n, make) {
    return Array.from({ length: n }, make);
  }
}

/** The random numbers of sequence `number` of `seed`. */
export function randomOf(seed, number) {
  const r = new Random(Math.imul(seed, 0x9e3779b1) ^ Math.imul(number + 1, 0x85ebca6b));
  r.next();
  return r;
}
