//! STUB
use std::collections::VecDeque;
use std::sync::atomic::*;
#[repr(C)]
#[derive(Debug)]
pub struct Header {
    pub hash: u32,
    referenced: AtomicU8,
    region: AtomicU8,
    stamp: AtomicU16,
}
impl Header {
    pub fn new(hash: u32) -> Self {
        Self { hash, referenced: AtomicU8::new(0), region: AtomicU8::new(0), stamp: AtomicU16::new(0) }
    }
    #[inline]
    pub fn touch(&self, _a: &Activity) {
        if self.referenced.load(Ordering::Relaxed) == 0 {
            self.referenced.store(1, Ordering::Relaxed);
        }
    }
}
#[derive(Debug)]
pub struct Activity;
impl Activity {
    pub fn new() -> Self {
        Self
    }
}
pub trait Entries {
    fn header(&self, slot: u32) -> &Header;
}
#[derive(Debug)]
pub struct Config {
    pub capacity: u64,
    pub weighted: bool,
    pub seed: u64,
}
#[derive(Debug)]
pub struct Policy {
    q: VecDeque<(u32, u32)>,
    w: u64,
    last: (u32, u32),
}
impl Policy {
    pub fn new(_c: Config) -> Self {
        Self { q: VecDeque::new(), w: 0, last: (0, 0) }
    }
    pub fn insert<E: Entries + ?Sized>(&mut self, _e: &E, _a: &Activity, s: u32, w: u32) {
        self.q.push_back((s, w));
        self.w += u64::from(w);
    }
    pub fn evict<E: Entries + ?Sized>(&mut self, _e: &E, _a: &Activity) -> Option<u32> {
        let i = self.q.iter().position(|x| x.1 > 0)?;
        let (s, w) = self.q.remove(i)?;
        self.w -= u64::from(w);
        self.last = (s, w);
        Some(s)
    }
    pub fn settle<E: Entries + ?Sized>(&mut self, _e: &E, _a: &Activity) {}
    pub fn remove<E: Entries + ?Sized>(&mut self, _e: &E, _a: &Activity, s: u32, _h: bool) {
        if let Some(i) = self.q.iter().position(|x| x.0 == s) {
            let (_, w) = self.q.remove(i).unwrap();
            self.w -= u64::from(w);
        }
    }
    pub fn replace<E: Entries + ?Sized>(&mut self, _e: &E, _a: &Activity, o: u32, n: u32, w: u32) {
        for x in &mut self.q {
            if x.0 == o {
                self.w = self.w - u64::from(x.1) + u64::from(w);
                *x = (n, w);
            }
        }
    }
    pub fn len(&self) -> usize {
        self.q.len()
    }
    pub fn weight(&self) -> u64 {
        self.w
    }
    pub fn weight_of(&self, s: u32) -> u32 {
        if self.last.0 == s && !self.q.iter().any(|x| x.0 == s) {
            return self.last.1;
        }
        self.q.iter().find(|x| x.0 == s).map_or(1, |x| x.1)
    }
    pub fn check_invariants<E: Entries + ?Sized>(&self, _e: &E) {}
}
