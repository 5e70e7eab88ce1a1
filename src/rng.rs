//! Random numbers that are a function of their place, so that they are the same in any batch, on any number
//! of threads and on any device: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy
//! as 1, 2, 3", SC 2011).
//!
//! The stream of a place, for whoever writes it again (a CUDA kernel):
//! - key = (low, high) 32 bits of the seed; counter = (a, b, c, n), where (a, b, c) is the place and n counts
//!   blocks from 0. A sampler's place is (image, position, sub-code).
//! - A block gives four words, used in order; draw i of a stream is word i mod 4 of block i / 4.
//! - uniform: (word >> 8) * 2^-24, exact in f32, in [0, 1).
//! - below n: the upper half of the product of n and a word; a word whose lower half is under 2^32 mod n is passed
//!   over (Lemire, "Fast random integer generation in an interval", 2019).
//! - normal: two words u, v; sqrt(-2 ln(((u >> 8) + 1) 2^-24)) * cos(2 pi (v >> 8) 2^-24) in f64, rounded to
//!   f32 (Box and Muller). ln and cos are the platform's, so the last bit may differ between platforms; words
//!   and uniforms may not.

/// Ten rounds of Philox4x32: four words of a key and a counter.
pub fn philox4x32(mut key: [u32; 2], mut counter: [u32; 4]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        }
        let a = u64::from(counter[0]) * 0xD251_1F53;
        let b = u64::from(counter[2]) * 0xCD9E_8D57;
        let high = |product: u64| (product >> 32) as u32;
        counter = [high(b) ^ counter[1] ^ key[0], b as u32, high(a) ^ counter[3] ^ key[1], a as u32];
    }
    counter
}

/// The random numbers of one place under one seed: up to 2^34 words, then they begin anew.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    place: [u32; 3],
    /// The block that the next word after `words` comes from.
    block: u32,
    words: [u32; 4],
    /// Words of `words` that were given out.
    used: usize,
}

impl Stream {
    /// The stream of a place, from its beginning.
    pub fn new(seed: u64, place: [u32; 3]) -> Stream {
        Stream { key: [seed as u32, (seed >> 32) as u32], place, block: 0, words: [0; 4], used: 4 }
    }

    /// The stream that draws a sub-code of an image at a position of its grid (row-major).
    pub fn of_code(seed: u64, image: u32, position: u32, sub_code: u32) -> Stream {
        Stream::new(seed, [image, position, sub_code])
    }

    /// 32 random bits.
    pub fn word(&mut self) -> u32 {
        if self.used == 4 {
            let [a, b, c] = self.place;
            self.words = philox4x32(self.key, [a, b, c, self.block]);
            self.block = self.block.wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// A multiple of 2^-24 in [0, 1), each equally likely.
    pub fn uniform(&mut self) -> f32 {
        (self.word() >> 8) as f32 * UNIT
    }

    /// An integer in [0, n), each equally likely; takes a word, seldom more. 0 for n = 0.
    pub fn below(&mut self, n: u32) -> u32 {
        loop {
            let product = u64::from(self.word()) * u64::from(n);
            let low = product as u32;
            // The remainder is less than n, so that most words need no division; and none is by 0.
            if low >= n || low >= n.wrapping_neg() % n {
                return (product >> 32) as u32;
            }
        }
    }

    /// A number of the normal distribution of mean 0 and deviation 1; takes two words.
    pub fn normal(&mut self) -> f32 {
        let unit = f64::from(UNIT);
        let u = f64::from((self.word() >> 8) + 1) * unit;
        let v = f64::from(self.word() >> 8) * unit;
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
    }
}

/// 2^-24.
const UNIT: f32 = 1.0 / (1 << 24) as f32;
