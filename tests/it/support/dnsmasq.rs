//! A real name server, dnsmasq, for the zone `test`: started on a port of its own, changed by a file and HUP.

use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

use super::external::require;
use super::{PATIENCE, wait_for};

/// A running dnsmasq; it is killed when dropped.
pub struct Dnsmasq {
    child: Child,
    folder: TempDir,
    address: SocketAddr,
}

impl Dnsmasq {
    /// Starts it with more lines of configuration and these hosts; `None` where it is not installed.
    pub fn start(lines: &str, hosts: &[(Ipv4Addr, &str)]) -> Option<Dnsmasq> {
        let program = require("dnsmasq")?;
        let folder = TempDir::new().expect("a temporary folder");
        write_hosts(folder.path(), hosts);
        // Somebody else may take the port that was free; then it ends, and another is tried.
        let (child, address) = wait_for(PATIENCE, "dnsmasq answers", || {
            let address = UdpSocket::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
            let mut child = Command::new(&program)
                .arg("--keep-in-foreground")
                .arg(format!("--conf-file={}", configuration(folder.path(), address, lines).display()))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("dnsmasq starts");
            if answers(address, &mut child) {
                return Some((child, address));
            }
            let _ = child.kill();
            let _ = child.wait();
            None
        });
        Some(Dnsmasq { child, folder, address })
    }

    /// Where it is asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on these are all hosts that there are.
    pub fn change(&self, hosts: &[(Ipv4Addr, &str)]) {
        write_hosts(self.folder.path(), hosts);
        let id = Pid::from_raw(self.child.id() as i32).expect("a process id");
        kill_process(id, Signal::HUP).expect("dnsmasq is told");
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_hosts(folder: &Path, hosts: &[(Ipv4Addr, &str)]) {
    let mut text = String::new();
    for (address, name) in hosts {
        writeln!(text, "{address} {name}").expect("text grows");
    }
    fs::write(folder.join("hosts"), text).expect("the hosts are written");
}

fn configuration(folder: &Path, address: SocketAddr, lines: &str) -> std::path::PathBuf {
    let (file, hosts, port) = (folder.join("dnsmasq.conf"), folder.join("hosts"), address.port());
    // Its own user: it would leave root, and could not read the folder any more.
    let user = if rustix::process::geteuid().is_root() { "user=root\ngroup=root\n" } else { "" };
    let text = format!(
        "port={port}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\nlocal=/test/\n\
         addn-hosts={}\npid-file=\nlocal-ttl=0\n{user}{lines}\n",
        hosts.display()
    );
    fs::write(&file, text).expect("its configuration is written");
    file
}

/// It says something to a question, whatever that is.
fn answers(address: SocketAddr, child: &mut Child) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(std::time::Duration::from_millis(50))).expect("a timeout");
    socket.connect(address).expect("a destination");
    // Number 7, one question: the address of `x.test`.
    let question = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01x\x04test\0\0\x01\0\x01";
    for _ in 0..40 {
        if child.try_wait().expect("its status is known").is_some() {
            return false;
        }
        let _ = socket.send(question);
        if socket.recv(&mut [0; 512]).is_ok() {
            return true;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    false
}
