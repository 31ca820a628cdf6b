//! Random numbers that never change: our own few lines instead of a crate whose
//! sequences may differ from one version to the next, and no floating-point function
//! that differs between machines.

/// Mixes a number so that neighbours have nothing in common (the finaliser of SplitMix64).
pub fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A random number for the `index`-th thing of a stream: what several tables must agree
/// on (the customer of an order) is computed from this, wherever it is needed.
pub fn hash(seed: u64, stream: u64, index: u64) -> u64 {
    mix(mix(seed ^ mix(stream)).wrapping_add(index))
}

/// A sequence of random numbers (xoshiro256++).
#[derive(Debug, Clone)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The sequence of one part of one stream.
    pub fn new(seed: u64, stream: u64, part: u64) -> Self {
        Self::from_hash(hash(seed, stream, part))
    }

    /// The sequence that begins from one hash.
    pub fn from_hash(start: u64) -> Self {
        let state = [0_u64, 1, 2, 3].map(|word| mix(start.wrapping_add(word)));
        Self { state }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let [s0, s1, s2, s3] = &mut self.state;
        let result = s0.wrapping_add(*s3).rotate_left(23).wrapping_add(*s0);
        let shifted = *s1 << 17;
        *s2 ^= *s0;
        *s3 ^= *s1;
        *s1 ^= *s2;
        *s0 ^= *s3;
        *s2 ^= shifted;
        *s3 = s3.rotate_left(45);
        result
    }

    /// From 0 up to, not including, `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        scale(self.bits(), bound)
    }

    /// From `least` to `most`, both included.
    pub fn between(&mut self, least: i64, most: i64) -> i64 {
        least + self.below((most - least + 1) as u64) as i64
    }

    /// From 0 up to, not including, 1.
    pub fn unit(&mut self) -> f64 {
        unit(self.bits())
    }

    /// True so often in a million.
    pub fn chance(&mut self, per_million: u64) -> bool {
        self.below(1_000_000) < per_million
    }

    /// One of the values, by weight.
    pub fn pick<T: Copy, const N: usize>(&mut self, choices: &[(u64, T); N]) -> T {
        pick(self.bits(), choices)
    }

    /// One of the defects, each so often in a million, with its name; mostly none.
    pub fn defect<T: Copy, const N: usize>(
        &mut self,
        planted: &[(u64, T, &'static str); N],
    ) -> Option<(T, &'static str)> {
        let mut left = self.below(1_000_000);
        for (per_million, defect, name) in planted {
            if left < *per_million {
                return Some((*defect, name));
            }
            left -= per_million;
        }
        None
    }
}

/// Brings 64 random bits into `0..bound`.
pub fn scale(bits: u64, bound: u64) -> u64 {
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}

/// Brings 64 random bits into `0.0..1.0`.
pub fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// Chooses by weight.
pub fn pick<T: Copy, const N: usize>(bits: u64, choices: &[(u64, T); N]) -> T {
    let total = choices.iter().map(|(weight, _)| weight).sum();
    let mut left = scale(bits, total);
    for (weight, value) in choices {
        if left < *weight {
            return *value;
        }
        left -= weight;
    }
    choices[N - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_stay_what_they_are() {
        // Changing these changes every generated file.
        let mut random = Random::new(42, 1, 7);
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        let first: Vec<u64> = (0..3).map(|_| random.below(1000)).collect();
        let mut again = Random::new(42, 1, 7);
        let second: Vec<u64> = (0..3).map(|_| again.below(1000)).collect();
        assert_eq!(first, second);
        assert_ne!(hash(42, 1, 7), hash(42, 2, 7));
        assert_ne!(hash(42, 1, 7), hash(43, 1, 7));
    }

    #[test]
    fn numbers_stay_in_their_range_and_fill_it() {
        let mut random = Random::new(1, 2, 3);
        let mut counts = [0_u32; 10];
        for _ in 0..10_000 {
            counts[random.below(10) as usize] += 1;
            let unit = random.unit();
            assert!((0.0..1.0).contains(&unit));
            let between = random.between(-3, 3);
            assert!((-3..=3).contains(&between));
        }
        assert!(
            counts.iter().all(|count| (800..1200).contains(count)),
            "{counts:?}"
        );
        assert_eq!(random.below(0), 0);
        let rare = (0..100_000).filter(|_| random.chance(10_000)).count();
        assert!((800..1200).contains(&rare), "{rare}");
        let choices = [(1, 'a'), (3, 'b')];
        let often = (0..10_000).filter(|_| random.pick(&choices) == 'b').count();
        assert!((7200..7800).contains(&often), "{often}");
    }
}
