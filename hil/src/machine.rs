//! A virtual machine with the distribution's own kernel, in QEMU (`hil/machine`): for drivers of hardware that is not here,
//! as the kernel's `vivid` is one of cameras. It sees this machine's files, read only, and so runs what was built here.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::kafka::cache;
use crate::media::root;
use crate::process::{Process, output};
use crate::wait::until;

/// Until it takes commands: all of it is emulated, and a build may run beside it.
const BOOT: Duration = Duration::from_secs(180);
/// What it needs to see the files of this one.
const FILES: [&str; 3] = ["virtio_pci", "9pnet_virtio", "9p"];

/// A running machine; ended when dropped. Its files are this machine's, but for `/run`, which is its own and in memory.
pub struct Machine {
    process: Process,
    share: PathBuf,
    commands: u32,
}

impl Machine {
    /// Starts one that has these modules of the kernel, too; `folder` is for its console and what it shares.
    ///
    /// # Errors
    /// When the kernel cannot be had, has no such module, or does not come up.
    pub fn start(modules: &[&str], folder: &Path) -> anyhow::Result<Self> {
        let kernel = kernel()?;
        let (share, first, files) = (folder.join("share"), folder.join("first"), folder.join("first.cpio"));
        for each in [&share, &first] {
            std::fs::create_dir(each).context("make the machine's folders")?;
        }
        let mut pack = Command::new(root().join("hil/machine/pack.sh"));
        pack.arg(&kernel).args(FILES).args(modules).current_dir(&first).stdin(Stdio::null());
        let packed = pack.stdout(File::create(&files).context("pack the machine's files")?).output();
        let packed = packed.context("pack the machine's files")?;
        ensure!(packed.status.success(), "pack the machine's files: {}", String::from_utf8_lossy(&packed.stderr));
        let mut qemu = Command::new("qemu-system-x86_64");
        // In software: the processor's own help is not everywhere, and hangs in some places that seem to have it.
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048"]);
        qemu.args(["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"]);
        qemu.arg("-kernel").arg(kernel.join("vmlinuz")).arg("-initrd").arg(&files);
        qemu.args(["-append", "console=ttyS0 panic=-1 quiet"]);
        for (tag, path, more) in [("host", Path::new("/"), ",readonly=on"), ("share", &share, "")] {
            let path = path.display();
            qemu.args([
                "-virtfs",
                &format!("local,mount_tag={tag},path={path},security_model=none,multidevs=remap{more}"),
            ]);
        }
        let mut process = Process::start("machine", &mut qemu, folder)?;
        process.wait_for_output("the machine is up", BOOT)?;
        Ok(Self { process, share, commands: 0 })
    }

    /// Runs a shell script in it, as root; what it prints.
    ///
    /// # Errors
    /// When it fails, or takes longer than `deadline`.
    pub fn run(&mut self, script: &str, deadline: Duration) -> anyhow::Result<String> {
        let (share, number, process) = (&self.share, self.commands, &mut self.process);
        self.commands += 1;
        let file = |end: &str| share.join(format!("{number}.{end}"));
        std::fs::write(file("new"), format!("{script}\n")).context("write a command for the machine")?;
        std::fs::rename(file("new"), file("sh")).context("give the machine a command")?;
        let printed = || String::from_utf8_lossy(&std::fs::read(file("out")).unwrap_or_default()).into_owned();
        let code = until(&format!("the machine to run {script:?}"), deadline, || {
            match (std::fs::read_to_string(file("rc")), process.ended()) {
                (Ok(code), _) => code.trim().parse::<i32>().map(Some).map_err(|_| code),
                (Err(_), Some(_)) => Ok(None),
                (Err(_), None) => Err(printed() + &process.output()),
            }
        })?;
        let code = code.with_context(|| format!("run {script:?}: the machine has ended: {}", process.output()))?;
        let printed = printed();
        ensure!(code == 0, "run {script:?} in the machine: it ended with {code}: {printed}");
        Ok(printed)
    }

    /// The folder that is `/run/share` in it.
    pub fn share(&self) -> &Path {
        &self.share
    }
}

/// The folder of the distribution's kernel: `vmlinuz` and `lib/modules`; taken from its packages once.
fn kernel() -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(cache()).context("make the cache")?;
    let lock = File::create(cache().join("kernel.lock")).context("lock the kernel")?;
    lock.lock().context("lock the kernel")?;
    let folder = cache().join("kernel");
    if !folder.exists() {
        let made = tempfile::tempdir_in(cache()).context("make a folder for the kernel")?;
        // Packages that do not come must not keep the tests from ending.
        let script = root().join("hil/machine/kernel.sh");
        output(Command::new("timeout").arg("300").arg(script).current_dir(&made))?;
        std::fs::rename(made.keep(), &folder).context("keep the kernel")?;
    }
    // Given back by hand: a child that was just forked has the file open, too.
    lock.unlock().context("unlock the kernel")?;
    Ok(folder)
}
