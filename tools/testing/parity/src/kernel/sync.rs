// SPDX-License-Identifier: GPL-2.0
//! Atomic numbers.

/// As the kernel crate has them.
pub mod atomic {
    use core::sync::atomic::{AtomicU64, Ordering};

    /// The one order that the policy uses.
    pub mod ordering {
        /// None.
        pub struct Relaxed;
    }

    /// A number that another task may write.
    #[repr(transparent)]
    pub struct Atomic<T>(AtomicU64, core::marker::PhantomData<T>);

    impl Atomic<u64> {
        /// Makes one.
        pub const fn new(value: u64) -> Self {
            Self(AtomicU64::new(value), core::marker::PhantomData)
        }

        /// Reads it.
        pub fn load(&self, _: ordering::Relaxed) -> u64 {
            self.0.load(Ordering::Relaxed)
        }

        /// Writes it.
        pub fn store(&self, value: u64, _: ordering::Relaxed) {
            self.0.store(value, Ordering::Relaxed);
        }
    }
}
