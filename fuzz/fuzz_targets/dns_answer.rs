//! Any bytes as a name server's answer: what is made of it is bounded, told in one line,
//! and in time.
#![no_main]

use std::net::SocketAddr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use observer::host::dns::finding::{of_mail, of_names};
use observer::host::dns::{Resolver, Settings};
use tokio::net::UdpSocket;
use tokio::runtime::{Builder, Runtime};

/// For one question: loopback takes less.
const TIMEOUT: Duration = Duration::from_millis(20);
const DEADLINE: Duration = Duration::from_millis(60);
/// Header, RFC 1035, 4.1.1.
const HEADER: usize = 12;

/// Answers every question with its own header and question, and these bytes behind them:
/// the first says of how many records they are meant to be.
async fn serve(socket: UdpSocket, bytes: Vec<u8>) {
    let mut query = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut query).await {
        let Some((records, rest)) = bytes.split_first().filter(|_| length > HEADER) else { return };
        // Its end is the additional record of EDNS, which is no part of the question.
        let name = query[HEADER..length].iter().position(|&byte| byte == 0).unwrap_or(0);
        let end = (HEADER + name + 5).min(length);
        let mut answer = query[..end].to_vec();
        answer[2..4].copy_from_slice(&[0x81, 0x80]);
        answer[4..HEADER].copy_from_slice(&[0, 1, 0, records % 8, 0, records / 64, 0, 0]);
        answer.extend_from_slice(rest);
        if socket.send_to(&answer, from).await.is_err() {
            return;
        }
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fuzz_target!(|bytes: &[u8]| {
    let bytes = bytes[..bytes.len().min(1_024)].to_vec();
    runtime().block_on(async {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let server: SocketAddr = socket.local_addr().expect("an address");
        tokio::spawn(serve(socket, bytes));
        let settings =
            Settings { servers: vec![server], timeout: TIMEOUT, deadline: DEADLINE, ..Settings::default() };
        let resolver = Resolver::new(settings).expect("a resolver");
        let mail = resolver.domain_mail("example.org").await;
        for finding in of_mail(&mail, "203.0.113.5".parse().ok()) {
            assert!(finding.to_string().len() < 1 << 20);
        }
        if let Ok(address) = "203.0.113.5".parse() {
            let _ = of_names(&resolver.names(address).await);
        }
    });
});
