//! A trace in memory, with keys renumbered from 0: simulations index arrays where a cache would need a map.

use std::collections::HashMap;

use super::Requests;

/// All requests of a trace.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The number of each request's key.
    pub ids: Vec<u32>,
    /// The size that came with each request; empty if all are 1.
    pub sizes: Vec<u32>,
    /// The key behind each number.
    pub keys: Vec<u64>,
}

impl Loaded {
    /// Reads a trace to its end, or to `limit` requests. Says now and then how many it has read.
    ///
    /// # Errors
    /// The first that the reader meets.
    pub fn read(requests: Requests, limit: usize, mut progress: impl FnMut(usize)) -> anyhow::Result<Self> {
        let mut trace = Self::default();
        let mut numbers: HashMap<u64, u32, ahash::RandomState> = HashMap::default();
        for request in requests.take(limit) {
            let request = request?;
            let next = u32::try_from(trace.keys.len())?;
            let id = *numbers.entry(request.key).or_insert(next);
            if id == next {
                trace.keys.push(request.key);
            }
            if request.size != 1 && trace.sizes.is_empty() {
                trace.sizes.resize(trace.ids.len(), 1);
            }
            if request.size != 1 || !trace.sizes.is_empty() {
                trace.sizes.push(request.size);
            }
            trace.ids.push(id);
            if trace.ids.len() % (1 << 16) == 0 {
                progress(trace.ids.len());
            }
        }
        Ok(trace)
    }

    /// Number of requests.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Number of keys.
    #[must_use]
    pub fn distinct(&self) -> usize {
        self.keys.len()
    }

    /// Size that came with a request.
    #[must_use]
    pub fn size(&self, request: usize) -> u32 {
        self.sizes.get(request).copied().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::*;

    #[test]
    fn keys_are_renumbered_and_sizes_kept_only_if_there_are_any() {
        let read = |requests: Vec<Request>| {
            Loaded::read(Box::new(requests.into_iter().map(Ok)), usize::MAX, |_| {}).unwrap()
        };
        let plain = read(vec![Request::new(9), Request::new(4), Request::new(9)]);
        assert_eq!((plain.ids, plain.keys, plain.sizes), (vec![0, 1, 0], vec![9, 4], vec![]));
        let sized = read(vec![Request::new(9), Request { key: 4, size: 7 }, Request::new(9)]);
        assert_eq!(sized.sizes, [1, 7, 1]);
    }

    #[test]
    fn the_limit_cuts() {
        let requests = Box::new((0..10).map(|key| Ok(Request::new(key))));
        assert_eq!(Loaded::read(requests, 3, |_| {}).unwrap().len(), 3);
    }
}
