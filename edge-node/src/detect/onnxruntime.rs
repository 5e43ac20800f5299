//! ONNX Runtime as what computes networks: its library is loaded while the node runs, from the file and with the hash that
//! the configuration names. Also for networks in int8, which tract computes no faster.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::value::TensorRef;
use tracing::error;
use tract_onnx::prelude::Tensor;

use super::manifest::{Entry, ModelError, sha256};
use super::network::{LibraryConfig, Loaded, Network, shape, written};

/// Largest library, in bytes: with a GPU's code some hundred million.
const LIBRARY_MAX: u64 = 1 << 30;
/// Sessions of a model, each with weights of its own: two workers, who sends pictures, who tries models. One more is made
/// where more run at once.
const SESSIONS: usize = 4;

/// The library; cheap to clone.
#[derive(Debug, Clone)]
pub struct Library(Environment);

/// What was loaded, and its hash: a process has one for as long as it lasts, as ONNX Runtime wants it.
static LOADED: Mutex<Option<(String, Library)>> = Mutex::new(None);

impl Library {
    /// Loads the library.
    ///
    /// # Errors
    /// A file that is not there, has another hash, or is no ONNX Runtime of 1.17 or newer.
    pub fn open(config: &LibraryConfig) -> anyhow::Result<Self> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = config.sha256.to_ascii_lowercase();
        if let Some((hash, library)) = &*loaded {
            anyhow::ensure!(*hash == expected, "another library is in use since the start, sha256 {hash}");
            return Ok(library.clone());
        }
        let mut file = File::open(&config.library).context("open it")?;
        let about = file.metadata().context("look at it")?;
        anyhow::ensure!(about.is_file(), "expected a regular file");
        anyhow::ensure!(about.len() <= LIBRARY_MAX, "{} bytes, the limit is {LIBRARY_MAX}", about.len());
        let mut bytes = Vec::new();
        file.by_ref().take(LIBRARY_MAX).read_to_end(&mut bytes).context("read it")?;
        let found = sha256(&bytes);
        drop(bytes);
        anyhow::ensure!(found == expected, "expected sha256 {expected}, found {found}");
        // The file that was read, whatever has its name by now.
        let opened = format!("/proc/self/fd/{}", file.as_raw_fd());
        let environment = ort::init_from(opened).map_err(|error| anyhow::anyhow!("{error}"))?;
        let library = Self(environment.with_telemetry(false).with_logger(Arc::new(log)).build()?);
        // With a logger of ours it would make up text of everything that it does.
        library.0.set_log_level(LogLevel::Error);
        *loaded = Some((expected, library.clone()));
        Ok(library)
    }

    /// Makes a model ready.
    ///
    /// # Errors
    /// [`ModelError`] for a network that it cannot run, or with other tensors than the entry's.
    pub fn load(&self, entry: &Entry, file: &Path, bytes: Vec<u8>) -> Result<Loaded, ModelError> {
        let run = |e: anyhow::Error| ModelError::Run { name: entry.name.clone(), reason: format!("{e:#}") };
        let environment = self.0.clone();
        #[expect(clippy::cast_possible_wrap, reason = "sides of an output")]
        let output = entry.shape().into_iter().map(|side| side as i64).collect();
        let input = entry.input.shape();
        let network = Sessions { environment, bytes, input, output, idle: Mutex::new(Vec::new()) };
        let session = network.session().map_err(run)?;
        // Dimensions that are named in the file, not fixed, are -1.
        let declared = session.inputs().first().and_then(|input| input.dtype().tensor_shape());
        let declared = declared.map(|dims| dims.to_vec()).unwrap_or_default();
        #[expect(clippy::cast_possible_wrap, reason = "sides of an input")]
        let wanted = network.input.map(|side| side as i64);
        let same = |(found, wanted): (&i64, i64)| *found == wanted || *found < 0;
        if declared.len() != wanted.len() || !declared.iter().zip(wanted).all(same) {
            shape(entry, file, "input", &written(wanted), written(declared))?;
        }
        let mut sessions = vec![session];
        for _ in 1..SESSIONS {
            sessions.push(network.made().map_err(run)?);
        }
        // Each once, for what is slow the first time.
        let black = vec![0.0; network.input.iter().product()];
        for mut session in sessions {
            let mut output = String::new();
            once(&mut session, network.input, &black, &mut |dims, _| output = written(dims)).map_err(run)?;
            shape(entry, file, "output", &written(entry.shape()), output)?;
            network.put(session);
        }
        Ok(Loaded { network: Arc::new(network), input: entry.input, raw: false })
    }
}

/// A session runs for one thread at a time. They are made beforehand, so that no frame waits for one.
struct Sessions {
    environment: Environment,
    bytes: Vec<u8>,
    input: [usize; 4],
    output: Vec<i64>,
    idle: Mutex<Vec<Session>>,
}

impl Sessions {
    fn session(&self) -> anyhow::Result<Session> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(session) = idle {
            return Ok(session);
        }
        self.made()
    }

    fn made(&self) -> anyhow::Result<Session> {
        // One thread, the caller's: cameras share the cores by threads of their own.
        let builder = Session::builder(&self.environment)?;
        let builder = builder.with_intra_threads(1).map_err(|error| anyhow::anyhow!("{error}"))?;
        let mut builder = builder.with_inter_threads(1).map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(builder.commit_from_memory(&self.bytes)?)
    }

    fn put(&self, session: Session) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }

    /// Runs; `read` is given shape and values of the first output.
    fn compute(&self, input: &Tensor, read: &mut dyn FnMut(&[i64], &[f32])) -> anyhow::Result<()> {
        let plain = input.try_as_plain_ram()?;
        let values = plain.as_slice::<f32>()?;
        let mut session = self.session()?;
        let done = once(&mut session, self.input, values, read);
        self.put(session);
        done
    }
}

fn once(
    session: &mut Session,
    input: [usize; 4],
    values: &[f32],
    read: &mut dyn FnMut(&[i64], &[f32]),
) -> anyhow::Result<()> {
    let outputs = session.run(ort::inputs![TensorRef::from_array_view((input, values))?])?;
    let first = outputs.values().next().context("expected an output, found none")?;
    let (dims, values) = first.try_extract_tensor::<f32>()?;
    read(dims, values);
    Ok(())
}

/// Into the node's own log; of errors alone.
fn log(_: LogLevel, _: &str, _: &str, place: &str, message: &str) {
    error!(place, "ONNX Runtime: {message}");
}

impl Network for Sessions {
    fn run(&self, input: Tensor, read: &mut dyn FnMut(&[&[f32]])) -> anyhow::Result<()> {
        let mut other = None;
        self.compute(&input, &mut |dims, values| {
            // Less than all of it would be nobody, where there is somebody.
            if dims.iter().eq(&self.output) {
                read(&[values]);
            } else {
                other = Some(written(dims));
            }
        })?;
        other.map_or(Ok(()), |found| anyhow::bail!("expected output {}, found {found}", written(&self.output)))
    }
}
