//! Random numbers that come again with their seed.

/// xorshift64*: enough for schedules, and no dependency.
pub struct Random(u64);

impl Random {
    /// The seed is `FACETD_SEED` if that is set; it is printed, so that a failure can be run again.
    pub fn from_env(default: u64) -> Self {
        let seed = std::env::var("FACETD_SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default);
        eprintln!("FACETD_SEED={seed}");
        Self::new(seed)
    }

    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// 31 random bits, also good as the seed of another one.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}
