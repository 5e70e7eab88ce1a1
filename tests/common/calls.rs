//! Bytes choose the sequence of calls through the C interface, and their arguments: whatever comes, each call keeps
//! to its contract. Used by a fuzz target, and by a test with fixed bytes.

#[path = "bytes.rs"]
mod bytes;

use bytes::{Bytes, Room};
use fqgan::capi::*;
use std::ffi::{CString, c_void};
use std::path::PathBuf;
use std::ptr::{null, null_mut};

/// The models that calls open.
pub struct Files {
    pub tokenizer: PathBuf,
    pub generator: PathBuf,
}

/// What the bytes did.
#[derive(Default, Debug)]
pub struct Tally {
    pub calls: usize,
    pub done: usize,
}

const GUARD: u32 = 0xA5A5_A5A5;

struct World<'a> {
    bytes: Bytes<'a>,
    files: &'a Files,
    runtimes: [*mut fqgan_runtime; 2],
    tokenizers: [*mut fqgan_tokenizer; 2],
    generators: [*mut fqgan_generator; 2],
    codes: Vec<u32>,
    packed: Vec<u8>,
    /// Weights in memory: models borrow them.
    weights: Vec<Vec<u8>>,
    tally: Tally,
}

/// Runs what the bytes say.
pub fn run(bytes: &[u8], files: &Files) -> Tally {
    let weights = [&files.tokenizer, &files.generator].map(|path| std::fs::read(path).unwrap());
    let mut world = World {
        bytes: Bytes(bytes),
        files,
        runtimes: [null_mut(); 2],
        tokenizers: [null_mut(); 2],
        generators: [null_mut(); 2],
        codes: (0..256).map(|i| i * 7 % 64).collect(),
        packed: Vec::new(),
        weights: weights.into(),
        tally: Tally::default(),
    };
    world.open(0, 0);
    world.open(1, 0);
    while !world.bytes.0.is_empty() && world.tally.calls < 40 {
        world.step();
    }
    for (tokenizer, generator) in world.tokenizers.into_iter().zip(world.generators) {
        // SAFETY: made by the calls above, or NULL.
        unsafe {
            fqgan_tokenizer_close(tokenizer);
            fqgan_generator_close(generator);
        }
    }
    // SAFETY: as above.
    world.runtimes.into_iter().for_each(|runtime| unsafe { fqgan_runtime_destroy(runtime) });
    world.tally
}

unsafe extern "C-unwind" fn progress(user: *mut c_void, done: u32, total: u32) -> i32 {
    assert!(done <= total);
    // SAFETY: the variable that went with it.
    let left = unsafe { &mut *user.cast::<u32>() };
    *left = left.saturating_sub(1);
    i32::from(*left == 0)
}

unsafe extern "C-unwind" fn serial(
    _: *mut c_void,
    jobs: usize,
    job: Option<unsafe extern "C" fn(*mut c_void, usize)>,
    context: *mut c_void,
) {
    for index in (0..jobs).rev() {
        // SAFETY: as the contract says.
        unsafe { job.unwrap()(context, index) };
    }
}

impl World<'_> {
    /// A call with an error struct of any size, or none.
    fn call(&mut self, body: impl FnOnce(*mut fqgan_error) -> fqgan_status) -> fqgan_status {
        self.tally.calls += 1;
        let size = match self.bytes.below(8) {
            0 => self.bytes.next() * 4,
            1 => return self.note(body(null_mut())),
            _ => size_of::<fqgan_error>(),
        };
        let mut memory = Room::new(size_of::<fqgan_error>() / 4, GUARD);
        memory.data[0] = size as u32;
        let status = body(memory.data.as_mut_ptr().cast());
        assert!(memory.whole() && memory.data[0] == size as u32);
        if size < 8 {
            assert_eq!(status, FQGAN_ERROR_INVALID_ARGUMENT);
        } else {
            assert_eq!(memory.data[1], status as u32);
            if size > 8 {
                let text: Vec<u8> = memory.data[2..].iter().flat_map(|word| word.to_ne_bytes()).collect();
                let text = &text[..text.iter().position(|b| *b == 0).unwrap()];
                assert!(text.len() < size - 8);
                let text = std::str::from_utf8(text).unwrap();
                assert!(size < 16 || (status == FQGAN_OK) == text.is_empty(), "{status}: {text}");
                assert_ne!(status, FQGAN_ERROR_INTERNAL, "{text}");
            }
            // Nothing past the end that the struct says it has.
            assert!(memory.data[size.div_ceil(4).clamp(2, memory.len)..].iter().all(|word| *word == GUARD));
        }
        self.note(status)
    }

    fn note(&mut self, status: fqgan_status) -> fqgan_status {
        assert!((FQGAN_OK..FQGAN_ERROR_INTERNAL).contains(&status), "status {status}");
        self.tally.done += usize::from(status == FQGAN_OK);
        status
    }

    fn step(&mut self) {
        match self.bytes.below(13) {
            0 => self.runtime(),
            1 => {
                let (kind, slot) = (self.bytes.below(2), self.bytes.below(2));
                self.open(kind, slot);
            }
            2 => self.close(),
            3 | 4 => self.encode(),
            5 | 6 => self.decode(),
            7 | 8 => self.generate(),
            9 => self.logits(),
            10 => self.pack(),
            11 => self.unpack(),
            _ => self.small(),
        }
    }

    fn runtime(&mut self) {
        let slot = self.bytes.below(2);
        // SAFETY: made by the call below, or NULL; models go on without.
        unsafe { fqgan_runtime_destroy(self.runtimes[slot]) };
        self.runtimes[slot] = null_mut();
        let mut options = fqgan_runtime_options {
            struct_size: self.bytes.word(size_of::<fqgan_runtime_options>()),
            device: self.bytes.word(1) as i32,
            device_index: self.bytes.word(0),
            threads: self.bytes.word(2),
            parallel: [None, Some(serial as _)][self.bytes.below(2)],
            parallel_user: null_mut(),
            cuda_context: null_mut(),
            cuda_stream: null_mut(),
        };
        if (8..=1024).contains(&options.threads) {
            options.threads = 3;
        }
        let chosen = if self.bytes.below(4) == 0 { null() } else { &raw const options };
        let mut runtime = std::ptr::dangling_mut();
        // SAFETY: whole arguments; more is never read than the library's own struct has.
        let status = self.call(|e| unsafe { fqgan_runtime_create(chosen, &mut runtime, e) });
        assert_eq!(status == FQGAN_OK, !runtime.is_null());
        self.runtimes[slot] = runtime;
    }

    fn open(&mut self, kind: usize, slot: usize) {
        let mut runtime = self.runtimes[self.bytes.below(2)];
        let mut own = null_mut();
        if runtime.is_null() && self.bytes.below(8) != 1 {
            let how = fqgan_runtime_options {
                struct_size: size_of::<fqgan_runtime_options>() as u32,
                device: FQGAN_DEVICE_CPU,
                device_index: 0,
                threads: 1,
                parallel: None,
                parallel_user: null_mut(),
                cuda_context: null_mut(),
                cuda_stream: null_mut(),
            };
            // SAFETY: whole arguments.
            assert_eq!(unsafe { fqgan_runtime_create(&how, &mut own, null_mut()) }, FQGAN_OK);
            runtime = own;
        }
        let limit = [0, 0, 0, 1 << 22, 1 << 18, 1000, 1, u64::MAX][self.bytes.below(8)];
        let options = fqgan_model_options {
            struct_size: self.bytes.word(size_of::<fqgan_model_options>()),
            precision: self.bytes.word(self.bytes.0.len() % 2) as i32,
            map: self.bytes.word(self.bytes.0.len() / 2 % 2) as i32,
            memory_limit: limit,
        };
        let options = if self.bytes.below(4) == 0 { null() } else { &raw const options };
        let wrong = self.bytes.below(12) == 1;
        let path = if (kind == 0) != wrong { &self.files.tokenizer } else { &self.files.generator };
        let path = CString::new(path.to_str().unwrap()).unwrap();
        let weights = &self.weights[usize::from((kind == 0) == wrong)];
        let (memory, bytes) = (self.bytes.below(3) == 0, weights.as_ptr().cast::<c_void>());
        let length = if self.bytes.below(8) == 0 { self.bytes.next() * 64 } else { weights.len() };
        // SAFETY: made by the calls below, or NULL; whole arguments, and the weights stay until all is closed.
        unsafe {
            if kind == 0 {
                fqgan_tokenizer_close(std::mem::replace(&mut self.tokenizers[slot], null_mut()));
                let mut made = std::ptr::dangling_mut();
                let status = self.call(|e| match memory {
                    true => fqgan_tokenizer_open_memory(runtime, bytes, length, options, &mut made, e),
                    false => fqgan_tokenizer_open(runtime, path.as_ptr(), options, &mut made, e),
                });
                assert_eq!(status == FQGAN_OK, !made.is_null());
                self.tokenizers[slot] = made;
            } else {
                fqgan_generator_close(std::mem::replace(&mut self.generators[slot], null_mut()));
                let mut made = std::ptr::dangling_mut();
                let status = self.call(|e| match memory {
                    true => fqgan_generator_open_memory(runtime, bytes, length, options, &mut made, e),
                    false => fqgan_generator_open(runtime, path.as_ptr(), options, &mut made, e),
                });
                assert_eq!(status == FQGAN_OK, !made.is_null());
                self.generators[slot] = made;
            }
            fqgan_runtime_destroy(own);
        }
    }

    fn close(&mut self) {
        let slot = self.bytes.below(2);
        // SAFETY: made by `open`, or NULL.
        unsafe {
            match self.bytes.below(3) {
                0 => fqgan_tokenizer_close(std::mem::replace(&mut self.tokenizers[slot], null_mut())),
                1 => fqgan_generator_close(std::mem::replace(&mut self.generators[slot], null_mut())),
                _ => fqgan_runtime_destroy(std::mem::replace(&mut self.runtimes[slot], null_mut())),
            }
        }
    }

    /// Images over memory that holds all that passes the library's checks: no side is past 40.
    fn images(&mut self, memory: &mut Vec<u8>, count: usize, width: u32, height: u32) -> Vec<fqgan_image> {
        memory.resize(600 * 40 * 3 + 40 * 12, 0);
        let seed = self.bytes.next();
        let format = self.bytes.below(6) as i32 - i32::from(self.bytes.below(12) == 0);
        let float = |i: usize| ((i * 13 + seed) % 200) as f32 / 100.0 - 1.0;
        if format >= FQGAN_PIXEL_RGB_F32 {
            for (i, four) in memory.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&float(i).to_ne_bytes());
            }
        } else {
            memory.iter_mut().enumerate().for_each(|(i, byte)| *byte = (i * 31 + seed) as u8);
        }
        let row_stride = match self.bytes.below(8) {
            0 => self.bytes.next() + self.bytes.next(),
            1 => usize::MAX >> self.bytes.below(3),
            2 => 500,
            _ => 0,
        };
        let pixels = if self.bytes.below(32) == 1 { null_mut() } else { memory.as_mut_ptr().cast() };
        vec![fqgan_image { pixels, width, height, row_stride, format }; count]
    }

    fn side(&mut self) -> u32 {
        match self.bytes.below(12) {
            0 => self.bytes.below(41) as u32,
            1 => self.bytes.word(0).max(1 << 20),
            n => 4 * (n as u32 - 1).min(9),
        }
    }

    fn encode(&mut self) {
        let (mut memory, tokenizer) = (Vec::new(), self.tokenizers[self.bytes.below(2)]);
        let (count, width, height) = (self.bytes.below(3), self.side(), self.side());
        let mut images = self.images(&mut memory, count, width, height);
        if count > 1 && self.bytes.below(4) == 0 {
            images[1].width = self.side();
        }
        let need = count * 2 * (width / 4) as usize * (height / 4) as usize;
        let latents = self.bytes.below(4) == 0;
        let capacity = match self.bytes.below(8) {
            0 => self.bytes.next(),
            _ => need.min(1 << 12) * if latents { 4 } else { 1 },
        };
        let from = if self.bytes.below(32) == 1 { null() } else { images.as_ptr() };
        if latents {
            let mut room = Room::new(capacity, f32::from_bits(GUARD));
            let to = room.data.as_mut_ptr();
            // SAFETY: whole arguments.
            let status = self.call(|e| unsafe { fqgan_latents(tokenizer, from, count, to, capacity, e) });
            assert!(room.whole() && (status == FQGAN_OK || room.untouched()));
            return;
        }
        let mut room = Room::new(capacity, GUARD);
        let to = room.data.as_mut_ptr();
        // SAFETY: whole arguments.
        let status = self.call(|e| unsafe { fqgan_encode(tokenizer, from, count, to, capacity, e) });
        assert!(room.whole() && (status == FQGAN_OK || room.untouched()));
        if status == FQGAN_OK {
            assert!(room.data[..need].iter().all(|code| *code < 64));
            self.codes[..need.min(256)].copy_from_slice(&room.data[..need.min(256)]);
        }
    }

    fn decode(&mut self) {
        let (mut memory, tokenizer) = (Vec::new(), self.tokenizers[self.bytes.below(2)]);
        let (columns, rows) = (self.bytes.word(1 + self.bytes.0.len() % 4), self.bytes.word(2));
        // Codes for all that passes the checks: 128 an image at most.
        let count = self.bytes.below(3);
        let (columns, rows) = if u64::from(columns) * u64::from(rows) > 64 && columns.max(rows) < 1 << 20 {
            (8, 8)
        } else {
            (columns, rows)
        };
        let (mut width, mut height) = (columns.wrapping_mul(4), rows.wrapping_mul(4));
        if width > 40 || height > 40 || self.bytes.below(8) == 0 {
            (width, height) = (32, 32);
        }
        let images = self.images(&mut memory, count, width, height);
        let mask = if self.bytes.below(4) == 0 { self.bytes.word(1) } else { self.bytes.below(4) as u32 };
        let mut codes = self.codes.clone();
        if self.bytes.below(8) == 0 {
            let at = self.bytes.next();
            codes[at % 64] = self.bytes.word(63);
        }
        let from = if self.bytes.below(32) == 1 { null() } else { codes.as_ptr() };
        // SAFETY: whole arguments: counts that the codes do not hold are past what can be an image.
        self.call(|e| unsafe {
            fqgan_decode(tokenizer, from, count, columns, rows, mask, images.as_ptr(), e)
        });
    }

    fn generate(&mut self) {
        let generator = self.generators[self.bytes.below(2)];
        let classes: Vec<u32> = (0..self.bytes.below(4)).map(|i| self.bytes.word(i)).collect();
        let mut left = self.bytes.below(20) as u32;
        let sampling = fqgan_sampling {
            struct_size: self.bytes.word(size_of::<fqgan_sampling>()),
            top_k: self.bytes.word(5),
            seed: self.bytes.next() as u64,
            guidance: self.bytes.float(1.5),
            temperature: self.bytes.float(1.0),
            top_p: self.bytes.float(0.9),
            steps: self.bytes.word(3),
            progress: if self.bytes.below(2) == 0 { None } else { Some(progress) },
            progress_user: (&raw mut left).cast(),
        };
        let sampling = if self.bytes.below(4) == 0 { null() } else { &raw const sampling };
        let capacity = if self.bytes.below(8) == 0 { self.bytes.next() } else { 24 * classes.len() };
        let mut room = Room::new(capacity, GUARD);
        let to = room.data.as_mut_ptr();
        // SAFETY: whole arguments.
        let status = self.call(|e| unsafe {
            fqgan_generate(generator, classes.as_ptr(), classes.len(), sampling, to, capacity, e)
        });
        assert!(room.whole());
        let made = [FQGAN_OK, FQGAN_ERROR_CANCELLED].contains(&status);
        let need = 24 * classes.len();
        assert!(!made || room.data[..need].iter().all(|code| *code < 64), "{status}");
        assert!(status != FQGAN_ERROR_INVALID_ARGUMENT || room.untouched());
    }

    fn logits(&mut self) {
        let generator = self.generators[self.bytes.below(2)];
        let classes: Vec<u32> = (0..self.bytes.below(3)).map(|i| self.bytes.word(i + 4)).collect();
        let capacity = if self.bytes.below(8) == 0 { self.bytes.next() } else { 24 * 64 * classes.len() };
        let mut room = Room::new(capacity, f32::from_bits(GUARD));
        let (to, codes) = (room.data.as_mut_ptr(), self.codes.clone());
        // SAFETY: whole arguments.
        self.call(|e| unsafe {
            fqgan_generator_logits(
                generator,
                classes.as_ptr(),
                codes.as_ptr(),
                classes.len(),
                to,
                capacity,
                e,
            )
        });
        assert!(room.whole());
    }

    fn pack(&mut self) {
        let [count, books, size, width, height] = [1, 2, 64, 4, 3].map(|usual| self.bytes.word(usual));
        let need = [count, books, width, height].iter().map(|n| u128::from(*n)).product::<u128>();
        // What is not too much to be read must be there.
        if need > 256 && need < 1 << 62 {
            return;
        }
        let capacity = self.bytes.next() * 2;
        let mut room = Room::new(capacity, 0xA5u8);
        let (codes, count) = (self.codes.clone(), count as usize);
        let (mut length, to) = (usize::MAX, room.data.as_mut_ptr().cast());
        let to = if self.bytes.below(3) == 0 { null_mut() } else { to };
        // SAFETY: whole arguments.
        let status = self.call(|e| unsafe {
            fqgan_codes_pack(codes.as_ptr(), count, books, size, width, height, to, capacity, &mut length, e)
        });
        assert!(room.whole() && (status == FQGAN_OK || (room.untouched() && length == usize::MAX)));
        if status == FQGAN_OK && !to.is_null() {
            self.packed = room.data[..length].to_vec();
        }
    }

    fn unpack(&mut self) {
        let mut packed = self.packed.clone();
        for _ in 0..self.bytes.below(3) {
            let (at, with) = (self.bytes.next(), self.bytes.next());
            if let Some(byte) = packed.get_mut(at) {
                *byte ^= with as u8;
            }
        }
        packed.truncate(if self.bytes.below(8) == 0 { self.bytes.next() } else { packed.len() });
        let mut info = Room::new(size_of::<fqgan_codes_info>() / 4, GUARD);
        let size = self.bytes.word(size_of::<fqgan_codes_info>());
        info.data[0] = size;
        let capacity = if self.bytes.below(4) == 0 { self.bytes.next() } else { 256 };
        let mut room = Room::new(capacity, GUARD);
        let to = if self.bytes.below(4) == 0 { null_mut() } else { room.data.as_mut_ptr() };
        let about = if self.bytes.below(4) == 0 { null_mut() } else { info.data.as_mut_ptr().cast() };
        // SAFETY: whole arguments.
        let status = self.call(|e| unsafe {
            fqgan_codes_unpack(packed.as_ptr().cast(), packed.len(), about, to, capacity, e)
        });
        assert!(room.whole() && info.whole() && info.data[0] == size);
        assert!(status == FQGAN_OK || (room.untouched() && info.data[1..].iter().all(|word| *word == GUARD)));
    }

    fn small(&mut self) {
        let mut info = Room::new(size_of::<fqgan_generator_info>() / 4, GUARD);
        info.data[0] = self.bytes.word(size_of::<fqgan_generator_info>());
        let to = info.data.as_mut_ptr();
        // SAFETY: whole arguments; a struct of another type is aligned alike and larger.
        unsafe {
            match self.bytes.below(3) {
                0 => {
                    let of = self.tokenizers[self.bytes.below(2)];
                    self.call(|e| fqgan_tokenizer_get_info(of, to.cast(), e));
                }
                1 => {
                    let of = self.generators[self.bytes.below(2)];
                    self.call(|e| fqgan_generator_get_info(of, to.cast(), e));
                }
                _ => {
                    let status = self.bytes.word(3) as i32;
                    assert!(!fqgan_status_name(status).is_null());
                    fqgan_sampling_init(to.cast());
                    fqgan_model_options_init(null_mut());
                }
            }
        }
        assert!(info.whole());
    }
}
