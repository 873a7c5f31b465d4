//! One model of the store.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use potluck_model::gguf::Gguf;
use potluck_protocol::LayerRange;
use potluck_protocol::transfer::{Kept, Lacking, Part as Fetched};
use potluck_protocol::wire::limits::{MAX_MANIFEST_BYTES, MAX_PIECE_BYTES};
use potluck_protocol::wire::{ByteRange, ContentHash};

use super::StoreError;
use super::pieces::{self, Pieces};
use crate::manifest::{Look, Manifest, Object, content_of};
use crate::{Part, private_file};

/// A model of which something is kept.
#[derive(Debug)]
pub(super) struct StoredModel {
    folder: PathBuf,
    manifest: Arc<Manifest>,
    manifest_bytes: u64,
    pieces: Pieces,
    /// Whether all pieces are known to be right.
    checked: bool,
    /// Bytes that are to come.
    pub(super) promised: u64,
    /// Whether it is being fetched.
    pub(super) fetching: bool,
    mapped: Weak<Gguf>,
    /// The file and the log of pieces, while it is written.
    writing: Option<(File, File)>,
    pub(super) used: SystemTime,
}

impl StoredModel {
    /// Keeps a manifest, of which nothing else is kept.
    pub(super) fn create(folder: PathBuf, bytes: &[u8]) -> Result<Self, StoreError> {
        let manifest = Manifest::parse(bytes)?;
        let disk = disk(&folder);
        // What is no model any more, or never was.
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(disk(error)),
            _ => {}
        }
        private_file::create_folder(&folder).map_err(&disk)?;
        let file = File::create(folder.join("weights.gguf")).map_err(&disk)?;
        // Holes, where the file system has them.
        file.set_len(manifest.file_bytes()).map_err(&disk)?;
        // Last: a folder without it is nothing.
        private_file::replace(&folder.join("manifest"), bytes).map_err(&disk)?;
        Ok(Self {
            pieces: Pieces::none(&manifest),
            manifest: Arc::new(manifest),
            manifest_bytes: bytes.len() as u64,
            checked: true,
            promised: 0,
            fetching: false,
            mapped: Weak::new(),
            writing: None,
            used: SystemTime::now(),
            folder,
        })
    }

    /// What is in a folder; `None` if that is no model of this name.
    pub(super) fn open(folder: PathBuf, name: &str) -> Option<Self> {
        let path = folder.join("manifest");
        let most = usize::try_from(MAX_MANIFEST_BYTES).ok()?;
        let bytes = private_file::read(&path, most).ok()??;
        if content_of(&bytes).to_string() != name {
            return None;
        }
        let manifest = Manifest::parse(&bytes).ok()?;
        let log = fs::read(folder.join("pieces")).unwrap_or_default();
        let weights = folder.join("weights.gguf");
        let length = fs::metadata(&weights).ok()?.len();
        if length != manifest.file_bytes() {
            return None;
        }
        let look = fs::read_to_string(folder.join("checked")).unwrap_or_default();
        let checked = Look::at(&weights).is_ok_and(|now| now.to_string() == look);
        let used = fs::metadata(&path).and_then(|metadata| metadata.modified());
        Some(Self {
            pieces: Pieces::of_log(&manifest, &log),
            manifest: Arc::new(manifest),
            manifest_bytes: bytes.len() as u64,
            checked,
            promised: 0,
            fetching: false,
            mapped: Weak::new(),
            writing: None,
            used: used.unwrap_or(SystemTime::UNIX_EPOCH),
            folder,
        })
    }

    /// Bytes that it takes, those that are promised included.
    pub(super) fn bytes(&self) -> u64 {
        self.manifest_bytes + self.pieces.bytes() + self.promised
    }

    /// Length of its manifest.
    pub(super) fn manifest_bytes(&self) -> u64 {
        self.manifest_bytes
    }

    /// Whether it must not be removed.
    pub(super) fn is_in_use(&self) -> bool {
        self.fetching || self.mapped.strong_count() > 0
    }

    /// Removes it from the disk.
    pub(super) fn remove(self) -> io::Result<()> {
        let name = self.folder.file_name().unwrap_or_default();
        let name = format!(".gone-{}", name.to_string_lossy());
        let gone = self.folder.with_file_name(name);
        fs::rename(&self.folder, &gone)?;
        fs::remove_dir_all(gone)
    }

    /// It is used now.
    pub(super) fn touch(&mut self) {
        self.used = SystemTime::now();
        let manifest = File::options().write(true).open(self.path("manifest"));
        // It is only remembered when, which is no harm to lose.
        let _ = manifest.and_then(|file| file.set_modified(self.used));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn object(&self, object: usize) -> Option<&Object> {
        self.manifest
            .objects()
            .nth(object)
            .map(|(_, object)| object)
    }

    /// Makes sure that all that is kept is right: what is not is forgotten.
    pub(super) fn check(&mut self) -> Result<(), StoreError> {
        if self.checked {
            return Ok(());
        }
        let disk = disk(&self.folder);
        let mut file = File::open(self.path("weights.gguf")).map_err(&disk)?;
        let manifest = Arc::clone(&self.manifest);
        let mut wrong = Vec::new();
        for (object, piece) in self.pieces.iter() {
            let of = self.object(object);
            let range = of.and_then(|of| Some((of, of.piece(piece)?)));
            let right = range.is_some_and(|(of, range)| {
                let bytes = read_places(&mut file, of, range);
                bytes.is_ok_and(|bytes| of.is_piece(piece, &bytes))
            });
            if !right {
                wrong.push((object, piece));
            }
        }
        for (object, piece) in wrong {
            self.pieces.remove(&manifest, object, piece);
        }
        self.pieces.store(&self.path("pieces")).map_err(&disk)?;
        self.checked = true;
        self.mark_checked().map_err(&disk)
    }

    /// Remembers how the file looks, all of which is right.
    fn mark_checked(&self) -> io::Result<()> {
        let weights = self.path("weights.gguf");
        File::open(&weights)?.sync_data()?;
        let look = Look::at(&weights)?.to_string();
        private_file::replace(&self.path("checked"), look.as_bytes())
    }

    /// What is missing of these layers, and of what every device needs.
    pub(super) fn lacks(&self, layers: &[LayerRange]) -> Vec<Lacking> {
        let layers = layers.iter().flat_map(|range| range.first()..range.end());
        let parts = layers.map(|layer| (Part::Layer(layer as usize), Fetched::Layer(layer)));
        let mut all: Vec<Lacking> = Vec::new();
        for (part, fetched) in [(Part::Common, Fetched::Common)].into_iter().chain(parts) {
            let Some(object) = self.manifest.object(part) else {
                continue;
            };
            let missing = self.pieces.missing_of(crate::manifest::index(part));
            let content = object.content();
            // Layers that are the same come once.
            let known = all.iter().any(|lacking| lacking.content == content);
            if !missing.is_empty() && !known {
                all.push(Lacking {
                    content,
                    part: fetched,
                    bytes: object.bytes(),
                    missing,
                });
            }
        }
        all
    }

    /// Whether the model has all of these layers at all.
    pub(super) fn knows(&self, layers: &[LayerRange]) -> bool {
        let most = self.manifest.layers();
        layers.iter().all(|range| range.end() as usize <= most)
    }

    /// Keeps a piece, if it is right, wherever the model has it.
    pub(super) fn keep(
        &mut self,
        content: ContentHash,
        piece: u32,
        bytes: &[u8],
    ) -> Result<Kept, StoreError> {
        let manifest = Arc::clone(&self.manifest);
        let disk = disk(&self.folder);
        let objects = manifest.objects().enumerate();
        let same = objects.filter(|(_, (_, object))| object.content() == content);
        let mut right = false;
        for (number, (_, object)) in same {
            right = right || object.is_piece(piece, bytes);
            let Some(range) = object.piece(piece).filter(|_| right) else {
                return Ok(Kept::Corrupt);
            };
            if self.pieces.contains(number, piece) {
                continue;
            }
            if self.writing.is_none() {
                self.writing = Some(self.open_to_write().map_err(&disk)?);
            }
            if let Some((weights, log)) = &mut self.writing {
                write_places(weights, object, range, bytes).map_err(&disk)?;
                pieces::append(log, number, piece).map_err(&disk)?;
            }
            self.pieces.insert(&manifest, number, piece);
            self.promised = self.promised.saturating_sub(range.bytes());
        }
        if right {
            Ok(Kept::Kept)
        } else {
            Err(StoreError::Unknown)
        }
    }

    fn open_to_write(&self) -> io::Result<(File, File)> {
        match fs::remove_file(self.path("checked")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let weights = self.path("weights.gguf");
        let weights = File::options().write(true).open(weights)?;
        let log = self.path("pieces");
        let log = File::options().create(true).append(true).open(log)?;
        Ok((weights, log))
    }

    /// Nothing more comes for now.
    pub(super) fn end(&mut self) -> Result<(), StoreError> {
        self.fetching = false;
        self.promised = 0;
        match self.writing.take() {
            Some(_) => self.mark_checked().map_err(disk(&self.folder)),
            None => Ok(()),
        }
    }

    fn has(&self, part: Part) -> bool {
        self.pieces.has_all_of(crate::manifest::index(part))
    }

    /// The layers that are whole; none if what every device needs is not.
    pub(super) fn layers(&self) -> impl Iterator<Item = u32> {
        let common = self.has(Part::Common);
        let all = 0..u32::try_from(self.manifest.layers()).unwrap_or(u32::MAX);
        all.filter(move |layer| common && self.has(Part::Layer(*layer as usize)))
    }

    /// The file, mapped, if it has these layers.
    pub(super) fn map(&mut self, layers: LayerRange) -> Option<Arc<Gguf>> {
        let mut all = layers.first()..layers.end();
        if !self.has(Part::Common) || !all.all(|layer| self.has(Part::Layer(layer as usize))) {
            return None;
        }
        self.touch();
        let mapped = self.mapped.upgrade();
        if let Some(mapped) = mapped.filter(|mapped| mapped.watch().check().is_ok()) {
            return Some(mapped);
        }
        // Other layers may come while these are used.
        let mapped = Arc::new(Gguf::open_growing(&self.path("weights.gguf")).ok()?);
        self.mapped = Arc::downgrade(&mapped);
        Some(mapped)
    }

    /// Bytes of an object or the manifest; `None` if they are not here.
    pub(super) fn read(&self, content: ContentHash, range: ByteRange) -> Option<Vec<u8>> {
        let mut objects = self.manifest.objects().enumerate();
        let (number, (_, object)) = objects.find(|(_, (_, o))| o.content() == content)?;
        let first = u32::try_from(range.first() / MAX_PIECE_BYTES).ok()?;
        let last = u32::try_from((range.end() - 1) / MAX_PIECE_BYTES).ok()?;
        if !(first..=last).all(|piece| self.pieces.contains(number, piece)) {
            return None;
        }
        let mut file = File::open(self.path("weights.gguf")).ok()?;
        read_places(&mut file, object, range).ok()
    }

    /// Whether the model has this object.
    pub(super) fn has_object(&self, content: ContentHash) -> bool {
        let mut objects = self.manifest.objects();
        objects.any(|(_, object)| object.content() == content)
    }

    /// The manifest.
    pub(super) fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

/// Bytes of an object, out of a file that has them at their places.
pub(super) fn read_places(
    file: &mut (impl Read + Seek),
    object: &Object,
    range: ByteRange,
) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(range.bytes()).unwrap_or_default());
    for (at, length) in object.places(range) {
        file.seek(SeekFrom::Start(at))?;
        let read = file.by_ref().take(length as u64).read_to_end(&mut bytes)?;
        if read != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(bytes)
}

fn write_places(
    file: &mut File,
    object: &Object,
    range: ByteRange,
    mut bytes: &[u8],
) -> io::Result<()> {
    for (at, length) in object.places(range) {
        let (now, rest) = bytes
            .split_at_checked(length)
            .ok_or(io::ErrorKind::InvalidInput)?;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(now)?;
        bytes = rest;
    }
    Ok(())
}

fn disk(folder: &Path) -> impl Fn(io::Error) -> StoreError + use<> {
    let path = folder.to_owned();
    move |source| StoreError::Disk {
        path: path.clone(),
        source,
    }
}
