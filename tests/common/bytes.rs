//! What chooses calls, and memory that tells when a call wrote where it must not.

/// Bytes that choose; zeros when they are used up.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    pub fn next(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.next() % n
    }

    /// Mostly a usual value, at times any.
    pub fn word(&mut self, usual: usize) -> u32 {
        match self.below(40) {
            0 => u32::MAX,
            1 => (self.next() | self.next() << 8 | self.next() << 16 | self.next() << 24) as u32,
            2 => 0,
            3 => self.next() as u32,
            _ => usual as u32,
        }
    }

    pub fn float(&mut self, usual: f32) -> f32 {
        let odd = [f32::NAN, f32::INFINITY, -1.0, 0.0, -0.0, 1e-30, 1e30, f32::MIN_POSITIVE / 4.0];
        let i = self.below(24);
        odd.get(i).copied().unwrap_or(usual)
    }
}

/// Elements with some behind them that no call may write.
pub struct Room<T> {
    pub data: Vec<T>,
    pub len: usize,
    fill: T,
}

impl<T: Copy + PartialEq> Room<T> {
    pub fn new(len: usize, fill: T) -> Room<T> {
        Room { data: vec![fill; len + 4], len, fill }
    }

    pub fn whole(&self) -> bool {
        self.data[self.len..].iter().all(|x| *x == self.fill)
    }

    pub fn untouched(&self) -> bool {
        self.data.iter().all(|x| *x == self.fill)
    }
}
