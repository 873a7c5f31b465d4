//! Pages of mapped files that are gone: zeros in place of `SIGBUS`.
//!
//! Touching a page of a mapped file that the file does not have any more (it was cut short, its disk
//! failed or was pulled out) raises `SIGBUS` on Unix, which ends the program, and with it everybody
//! else's sessions. So when the first file is mapped, a handler is installed, once and for the life of
//! the process. It looks the address up among the mapped files. If it is in one, that mapping is marked
//! as lost, and anonymous pages of zeros are put over the page that was touched and all after it; the
//! instruction then goes on. Whoever reads the mapping asks afterwards whether it was lost, and does
//! not use what was computed. If the address is in none, whoever handled the signal before is called:
//! Rust's own check for stack overflow, or an application that this is a library of.
//!
//! What the handler does is allowed in a signal handler: it reads atomics, and calls `mmap` and
//! `sigaction`, which are bare system calls.
//!
//! On Windows a mapped file cannot be cut short.

use std::ops::Range;

#[cfg(not(unix))]
pub(super) use other::{Guarded, guard};
#[cfg(unix)]
pub(super) use unix::{Guarded, guard};

#[cfg(unix)]
mod unix {
    use std::ffi::{c_int, c_void};
    use std::ptr;
    use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
    use std::sync::{Mutex, Once, OnceLock, PoisonError};

    use super::Range;

    /// A range of addresses that the handler knows; all 0 if it is free.
    ///
    /// Ranges are never freed, as the handler may be reading them, but used again.
    #[derive(Debug)]
    struct Known {
        start: AtomicUsize,
        end: AtomicUsize,
        lost: AtomicBool,
        next: Option<&'static Self>,
    }

    impl Known {
        /// Where the range ends, if it has this address.
        ///
        /// Another thread may give the range back and take it for another mapping meanwhile. Ranges of
        /// one start and different ends do not follow each other without a start of 0 in between, so a
        /// start that is the same before and after belongs to the end that was read, or the address was
        /// in the mapping that took the range's place.
        fn end_if_has(&self, address: usize) -> Option<usize> {
            let start = self.start.load(Ordering::Acquire);
            let end = self.end.load(Ordering::Acquire);
            let is_one = start != 0 && self.start.load(Ordering::Acquire) == start;
            (is_one && (start..end).contains(&address)).then_some(end)
        }
    }

    /// The newest; through `next`, all.
    static FIRST: AtomicPtr<Known> = AtomicPtr::new(ptr::null_mut());
    /// Held while ranges are taken or given back.
    static CHANGING: Mutex<()> = Mutex::new(());
    static INSTALLED: Once = Once::new();
    /// Who handled the signal before.
    static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();
    static PAGE_BYTES: AtomicUsize = AtomicUsize::new(4096);

    /// A mapping that the handler knows, until this is dropped.
    #[derive(Debug)]
    pub(in super::super) struct Guarded(&'static Known);

    impl Guarded {
        pub(in super::super) fn is_lost(&self) -> bool {
            self.0.lost.load(Ordering::Acquire)
        }
    }

    impl Drop for Guarded {
        fn drop(&mut self) {
            let _changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
            self.0.end.store(0, Ordering::Release);
            self.0.start.store(0, Ordering::Release);
        }
    }

    fn first() -> Option<&'static Known> {
        // SAFETY: null, or from `Box::leak` below.
        unsafe { FIRST.load(Ordering::Acquire).as_ref() }
    }

    fn all() -> impl Iterator<Item = &'static Known> {
        std::iter::successors(first(), |known| known.next)
    }

    /// From now on, pages of this mapping that are gone read as zeros.
    pub(in super::super) fn guard(mapping: Range<*const u8>) -> Guarded {
        INSTALLED.call_once(install);
        let (start, end) = (mapping.start.addr(), mapping.end.addr());
        let _changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
        let free = all().find(|known| known.end.load(Ordering::Acquire) == 0);
        if let Some(known) = free {
            known.lost.store(false, Ordering::Release);
            known.start.store(start, Ordering::Release);
            known.end.store(end, Ordering::Release);
            return Guarded(known);
        }
        let known: &'static mut Known = Box::leak(Box::new(Known {
            start: AtomicUsize::new(start),
            end: AtomicUsize::new(end),
            lost: AtomicBool::new(false),
            next: first(),
        }));
        FIRST.store(known, Ordering::Release);
        Guarded(known)
    }

    fn install() {
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        if let Ok(page) = usize::try_from(page) {
            PAGE_BYTES.store(page, Ordering::Release);
        }
        // SAFETY: both structures are valid for the calls; a zeroed one is a valid one without flags
        // and with an empty mask. The handler does only what a handler may. If a call fails, nothing
        // is installed, and the signal ends the program as it would have.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut before) != 0 {
                return;
            }
            // First, as the handler asks for it.
            if BEFORE.set(before).is_err() {
                return;
            }
            let handler: Handler = on_bus_error;
            let mut ours: libc::sigaction = std::mem::zeroed();
            ours.sa_sigaction = handler as libc::sighandler_t;
            // On the alternative stack, where the thread has one: the handler before ours needs it.
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGBUS, &raw const ours, ptr::null_mut());
        }
    }

    type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
    type PlainHandler = extern "C" fn(c_int);

    extern "C" fn on_bus_error(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        // SAFETY: the system gives a valid structure, of a signal that has an address.
        let (address, code) = unsafe { ((*info).si_addr().addr(), (*info).si_code) };
        if code != libc::BUS_ADRALN && cover(address) {
            return;
        }
        let before = BEFORE.get();
        let handled =
            before.filter(|before| ![libc::SIG_DFL, libc::SIG_IGN].contains(&before.sa_sigaction));
        // SAFETY: the handler before ours was installed with these flags, so it has this type. For
        // the default, what caused the signal is done again after the return, and ends the program.
        unsafe {
            match handled {
                Some(before) if before.sa_flags & libc::SA_SIGINFO != 0 => {
                    let handler: Handler =
                        std::mem::transmute::<usize, Handler>(before.sa_sigaction);
                    handler(signal, info, context);
                }
                Some(before) => {
                    let handler: PlainHandler =
                        std::mem::transmute::<usize, PlainHandler>(before.sa_sigaction);
                    handler(signal);
                }
                None => {
                    let default: libc::sigaction = std::mem::zeroed();
                    libc::sigaction(libc::SIGBUS, &raw const default, ptr::null_mut());
                }
            }
        }
    }

    /// Puts zeros over the rest of the mapping that has this address, if one has.
    fn cover(address: usize) -> bool {
        let Some((known, end)) = all().find_map(|known| Some((known, known.end_if_has(address)?)))
        else {
            return false;
        };
        // Before there are zeros that another thread could read.
        known.lost.store(true, Ordering::Release);
        let page = address - address % PAGE_BYTES.load(Ordering::Acquire);
        let bytes = end - page;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_FIXED;
        let place = ptr::with_exposed_provenance_mut(page);
        // SAFETY: the pages are those of a file's mapping, which stays while it is read, as it is now,
        // and is only ever read as bytes of any value. They stay mapped, readable and not writable.
        let mapped = unsafe { libc::mmap(place, bytes, libc::PROT_READ, flags, -1, 0) };
        mapped != libc::MAP_FAILED
    }
}

#[cfg(not(unix))]
mod other {
    use super::Range;

    /// Nothing.
    #[derive(Debug)]
    pub(in super::super) struct Guarded;

    impl Guarded {
        pub(in super::super) fn is_lost(&self) -> bool {
            false
        }
    }

    pub(in super::super) fn guard(_mapping: Range<*const u8>) -> Guarded {
        Guarded
    }
}
