//! TensorBoard's event files: records of a length, the event as a protobuf message, and checksums of both.

use fqgan::train::Scalar;
use fqgan::{Error, Result};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

pub struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// A new file in `folder`, from which on what earlier files say of later steps does not count.
    pub fn create(folder: &Path, after: u64) -> Result<Events> {
        let now = seconds();
        // TensorBoard reads a folder's files in the order of their names.
        let path = folder.join(format!(
            "events.out.tfevents.{:010}.{:06}.fqgan",
            now as u64,
            (now.fract() * 1e6) as u32
        ));
        let file =
            File::create_new(&path).map_err(|e| Error::io(format_args!("making {}", path.display()), &e))?;
        let mut events = Events { path, file };
        let mut version = Message::default();
        version.double(1, now).bytes(3, b"brain.Event:2");
        events.record(&version.0)?;
        let mut start = Message::default();
        start.number(1, 1);
        let mut event = Message::default();
        event.double(1, now).number(2, after + 1).bytes(7, &start.0);
        events.record(&event.0)?;
        Ok(events)
    }

    pub fn scalars(&mut self, step: u64, scalars: &[Scalar]) -> Result<()> {
        let mut summary = Message::default();
        for scalar in scalars {
            let mut value = Message::default();
            value.bytes(1, scalar.name.as_bytes()).float(2, scalar.value as f32);
            summary.bytes(1, &value.0);
        }
        self.summary(step, &summary)
    }

    pub fn picture(&mut self, step: u64, name: &str, sides: [usize; 2], png: &[u8]) -> Result<()> {
        let mut image = Message::default();
        let [width, height] = sides.map(|side| side as u64);
        image.number(1, height).number(2, width).number(3, 3).bytes(4, png);
        let mut value = Message::default();
        value.bytes(1, name.as_bytes()).bytes(4, &image.0);
        let mut summary = Message::default();
        summary.bytes(1, &value.0);
        self.summary(step, &summary)
    }

    fn summary(&mut self, step: u64, summary: &Message) -> Result<()> {
        let mut event = Message::default();
        event.double(1, seconds()).number(2, step).bytes(5, &summary.0);
        self.record(&event.0)
    }

    fn record(&mut self, data: &[u8]) -> Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(data.len() + 16);
        record.extend(length);
        record.extend(masked(&length).to_le_bytes());
        record.extend(data);
        record.extend(masked(data).to_le_bytes());
        let write = self.file.write_all(&record);
        write.map_err(|e| Error::io(format_args!("writing {}", self.path.display()), &e))
    }
}

/// CRC-32C, turned and shifted so that a checksum of checksums is no trivial one.
fn masked(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xA282_EAD8)
}

fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64())
}

/// A protobuf message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn key(&mut self, field: u64, kind: u64) {
        self.varint(field << 3 | kind);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(&mut self, field: u64, value: u64) -> &mut Message {
        self.key(field, 0);
        self.varint(value);
        self
    }

    fn double(&mut self, field: u64, value: f64) -> &mut Message {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(&mut self, field: u64, value: &[u8]) -> &mut Message {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    fn float(&mut self, field: u64, value: f32) -> &mut Message {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }
}
