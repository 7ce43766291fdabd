//! TURN over UDP, at the number of HTTPS: for networks that let QUIC out, and so UDP to that one number, but not to the
//! media port.
//!
//! A sender's address may be a lie. Who is unknown costs no memory, and gets an answer little longer than what it sent
//! (`hewei_turn::CHALLENGE_LEN_MAX`), so many a second: whoever lies makes us send nobody more than it could itself.
//! What is remembered is a relay, and to get one a client must have read our nonce at the address that it is made for.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::{
    net::UdpSocket,
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    Turn,
    relay::{Answer, DATAGRAM_LEN_MAX, Relay},
};
use crate::{addresses, http::listener::stopped};

/// Messages that wait for their relay: a keyframe of 1080p. A full queue drops what comes besides.
const MESSAGES_MAX: usize = 128;
/// Requests of one network that are answered in a second: a hall of people who come at once sends some eight each.
const ANSWERS_A_SECOND: u16 = 256;
/// And of all networks: with three hashes each, less than a twentieth of a core.
const ANSWERS_OF_ALL: u32 = 4_096;
/// Networks share cells; who shares one is drawn at every start, so that nobody can choose whose.
const CELLS: usize = 1_024;

impl Turn {
    /// Serves whoever sends to this socket, until the server stops.
    pub(crate) async fn serve_datagrams(self: Arc<Self>, socket: UdpSocket, mut stop: watch::Receiver<bool>) {
        let mut front = Front {
            turn: self,
            socket: Arc::new(socket),
            clients: HashMap::new(),
            relays: JoinSet::new(),
            answers: Answers::new(Instant::now()),
        };
        let mut datagram = [0; DATAGRAM_LEN_MAX];
        loop {
            tokio::select! {
                () = stopped(&mut stop) => return,
                Some(_) = front.relays.join_next() => {
                    front.clients.retain(|_, messages| !messages.is_closed());
                }
                received = front.socket.recv_from(&mut datagram) => {
                    // An ICMP error of an earlier send; the next call goes on.
                    if let Ok((len, client)) = received {
                        front.datagram(client, &datagram[..len]).await;
                    }
                }
            }
        }
    }
}

struct Front {
    turn: Arc<Turn>,
    socket: Arc<UdpSocket>,
    /// Those who have a relay: no more than there are relays.
    clients: HashMap<SocketAddr, mpsc::Sender<Box<[u8]>>>,
    /// Their tasks.
    relays: JoinSet<()>,
    answers: Answers,
}

impl Front {
    async fn datagram(&mut self, client: SocketAddr, message: &[u8]) {
        let asks = hewei_turn::is_request(message);
        if asks && !self.answers.admit(Instant::now(), client.ip()) {
            return self.dropped();
        }
        match self.clients.get(&client).map(|messages| messages.try_send(message.into())) {
            Some(Ok(())) => {}
            Some(Err(mpsc::error::TrySendError::Full(_))) => self.dropped(),
            // Its relay has ended just now: it may ask for another one.
            Some(Err(mpsc::error::TrySendError::Closed(_))) | None if asks => {
                self.stranger(client, message).await;
            }
            Some(Err(mpsc::error::TrySendError::Closed(_))) | None => self.dropped(),
        }
    }

    /// Answers somebody who has no relay, and sees to it that it is served when it has one.
    async fn stranger(&mut self, client: SocketAddr, message: &[u8]) {
        let mut relay = Relay::new(&self.turn, client);
        if let Answer::Reply(reply) = relay.message(message).await {
            say(&self.turn, &self.socket, client, &reply);
        }
        if relay.is_open() {
            let (sender, messages) = mpsc::channel(MESSAGES_MAX);
            self.clients.insert(client, sender);
            let (turn, socket) = (Arc::clone(&self.turn), Arc::clone(&self.socket));
            self.relays.spawn(serve(turn, socket, client, relay, messages));
        }
    }

    fn dropped(&self) {
        self.turn.counters.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Serves one relay until it is given back or not refreshed. What is no TURN ends nothing: anybody could have sent it.
async fn serve(
    turn: Arc<Turn>,
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    mut relay: Relay,
    mut messages: mpsc::Receiver<Box<[u8]>>,
) {
    let (mut datagram, mut wrapped) = ([0; DATAGRAM_LEN_MAX], Vec::new());
    while let Some(ends) = relay.expires_at() {
        tokio::select! {
            message = messages.recv() => {
                let Some(message) = message else { return };
                match relay.message(&message).await {
                    Answer::Reply(reply) | Answer::Last(reply) => say(&turn, &socket, client, &reply),
                    Answer::Nothing | Answer::Malformed => {}
                }
            }
            received = relay.receive(&mut datagram) => {
                if let Ok(len) = received && relay.wrap(&datagram[..len], &mut wrapped) {
                    say(&turn, &socket, client, &wrapped);
                }
            }
            () = tokio::time::sleep_until(ends) => return,
        }
    }
}

/// Sends, or drops: what is late is worth less than what is new.
fn say(turn: &Turn, socket: &UdpSocket, client: SocketAddr, bytes: &[u8]) {
    if socket.try_send_to(bytes, client).is_err() {
        turn.counters.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// How many requests may be answered in this second.
struct Answers {
    hasher: RandomState,
    cells: Box<[u16]>,
    of_all: u32,
    since: Instant,
}

impl Answers {
    fn new(now: Instant) -> Self {
        Self { hasher: RandomState::new(), cells: vec![0; CELLS].into(), of_all: 0, since: now }
    }

    fn admit(&mut self, now: Instant, client: IpAddr) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            self.cells.fill(0);
            (self.of_all, self.since) = (0, now);
        }
        let cell = &mut self.cells[(self.hasher.hash_one(addresses::network(client)) as usize) % CELLS];
        if self.of_all >= ANSWERS_OF_ALL || *cell >= ANSWERS_A_SECOND {
            return false;
        }
        self.of_all += 1;
        *cell += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use md5::{Digest, Md5};
    use rtc_crypto::RTCCryptoProvider;
    use rtc_stun::{
        attributes::{ATTR_NONCE, ATTR_REALM, ATTR_USERNAME, AttrType},
        error_code::ErrorCodeAttribute,
        integrity::MessageIntegrity,
        message::{
            CLASS_REQUEST, Getter, METHOD_ALLOCATE, METHOD_CHANNEL_BIND, METHOD_REFRESH, Message,
            MessageType, Method, Setter, TransactionId,
        },
        textattrs::TextAttribute,
        xoraddr::XorMappedAddress,
    };
    use time::OffsetDateTime;

    use super::*;
    use crate::config::Config;

    const WAIT: Duration = Duration::from_secs(20);
    const LIFETIME: AttrType = AttrType(0x000d);
    const CHANNEL_NUMBER: AttrType = AttrType(0x000c);
    const XOR_PEER_ADDRESS: AttrType = AttrType(0x0012);
    const TRANSPORT: (AttrType, &[u8]) = (AttrType(0x0019), &[17, 0, 0, 0]);
    const CHANNEL: [u8; 4] = [0x40, 0, 0, 0];

    /// A front, and a media port that we hold.
    struct World {
        turn: Arc<Turn>,
        front: SocketAddr,
        media: UdpSocket,
        _stop: watch::Sender<bool>,
    }

    impl World {
        async fn new() -> World {
            let media = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
            let mut config = Config::default();
            (config.media.bind, config.media.addresses) =
                ([127, 0, 0, 1].into(), vec![[127, 0, 0, 1].into()]);
            let port = media.local_addr().expect("bound").port();
            let socket = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
            let front = socket.local_addr().expect("bound");
            let turn = Turn::new(&config, port, &[1; 32], std::slice::from_ref(&socket)).expect("it is on");
            let (stop, stopped) = watch::channel(false);
            tokio::spawn(Arc::clone(&turn).serve_datagrams(socket, stopped));
            World { turn, front, media, _stop: stop }
        }

        fn relays(&self) -> u32 {
            self.turn.held.lock().expect("nobody panicked").all
        }

        async fn until_relays(&self, count: u32) {
            let reached = async {
                while self.relays() != count {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(WAIT, reached).await.expect("as many relays");
        }
    }

    /// A client whose messages are made by code that is not ours.
    struct Client {
        socket: UdpSocket,
        provider: Arc<dyn RTCCryptoProvider>,
        username: String,
        password: String,
        nonce: String,
        transactions: u8,
    }

    impl Client {
        async fn of(world: &World) -> Client {
            let socket = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
            socket.connect(world.front).await.expect("connects");
            let until = OffsetDateTime::now_utc().unix_timestamp() as u64 + 600;
            let credentials = world.turn.server.secret.issue(until, "seat");
            Client {
                socket,
                provider: rtc_crypto::default_provider().expect("ring"),
                username: credentials.username,
                password: credentials.password,
                nonce: String::new(),
                transactions: 0,
            }
        }

        fn request(&mut self, method: Method, attributes: &[(AttrType, &[u8])]) -> Message {
            self.transactions += 1;
            let mut message = Message::new();
            let setters: [Box<dyn Setter>; 2] = [
                Box::new(MessageType { method, class: CLASS_REQUEST }),
                Box::new(TransactionId([self.transactions; 12])),
            ];
            message.build(&setters).expect("builds");
            for (attribute, value) in attributes {
                message.add(*attribute, value);
            }
            message
        }

        fn sign(&self, message: &mut Message) {
            let texts = [(ATTR_USERNAME, &*self.username), (ATTR_REALM, "hewei"), (ATTR_NONCE, &*self.nonce)];
            for (attribute, text) in texts {
                TextAttribute::new(attribute, text.to_owned()).add_to(message).expect("adds");
            }
            MessageIntegrity::new_long_term_integrity_with_provider(
                self.username.clone(),
                "hewei".to_owned(),
                self.password.clone(),
                self.provider.crypto(),
            )
            .expect("a key")
            .add_to(message)
            .expect("adds");
        }

        async fn hears(&self) -> Vec<u8> {
            let mut bytes = [0; 2_048];
            let len = tokio::time::timeout(WAIT, self.socket.recv(&mut bytes)).await;
            bytes[..len.expect("an answer").expect("receives")].to_vec()
        }

        /// The answer to a request, and its error.
        async fn asks(&self, request: &Message) -> (Message, u16) {
            self.socket.send(&request.raw).await.expect("sends");
            let mut answer = Message::new();
            answer.write(&self.hears().await).expect("a message");
            assert_eq!(answer.transaction_id, request.transaction_id);
            let mut error = ErrorCodeAttribute::default();
            let code = error.get_from(&answer).map_or(0, |()| error.code.0);
            (answer, code)
        }

        /// Asks without credentials, and takes the nonce.
        async fn begins(&mut self) -> Message {
            let request = self.request(METHOD_ALLOCATE, &[TRANSPORT]);
            let (challenge, code) = self.asks(&request).await;
            assert_eq!(code, 401);
            assert!(challenge.raw.len() <= request.raw.len() + hewei_turn::CHALLENGE_LEN_MAX);
            self.nonce = String::from_utf8(challenge.get(ATTR_NONCE).expect("told")).expect("text");
            challenge
        }

        async fn asks_signed(&mut self, method: Method, attributes: &[(AttrType, &[u8])]) -> (Message, u16) {
            let mut request = self.request(method, attributes);
            self.sign(&mut request);
            let (mut answer, code) = self.asks(&request).await;
            if code != 438 && code != 401 {
                let key = Md5::digest(format!("{}:hewei:{}", self.username, self.password));
                MessageIntegrity::check(&mut answer, &key, self.provider.crypto()).expect("it is signed");
            }
            (answer, code)
        }
    }

    /// As an attribute has it (RFC 8489 §14.2).
    fn xored(address: SocketAddr) -> Vec<u8> {
        let SocketAddr::V4(address) = address else { panic!("IPv4") };
        let port = (address.port() ^ 0x2112).to_be_bytes();
        let ip = (address.ip().to_bits() ^ 0x2112_a442).to_be_bytes();
        [&[0, 1], &port[..], &ip].concat()
    }

    #[tokio::test]
    async fn media_goes_both_ways_through_a_relay_that_is_given_back() {
        let world = World::new().await;
        let mut client = Client::of(&world).await;
        client.begins().await;
        assert_eq!(world.relays(), 0, "nothing is kept of who has no credentials");

        let (allocated, code) = client.asks_signed(METHOD_ALLOCATE, &[TRANSPORT]).await;
        assert_eq!((code, world.relays()), (0, 1));
        let mut relayed = XorMappedAddress::default();
        relayed.get_from_as(&allocated, AttrType(0x0016)).expect("told");
        let relayed = SocketAddr::new(relayed.ip, relayed.port);

        let peer = xored(world.media.local_addr().expect("bound"));
        let bind = [(CHANNEL_NUMBER, &CHANNEL[..]), (XOR_PEER_ADDRESS, &peer)];
        assert_eq!(client.asks_signed(METHOD_CHANNEL_BIND, &bind).await.1, 0);
        for _ in 0..3 {
            // What anybody could have sent in its name ends nothing.
            client.socket.send(b"GET / HTTP/1.1").await.expect("sends");
            client.socket.send(&[0x40, 0, 0, 5, 1, 2, 3, 4, 5]).await.expect("sends");
            let mut bytes = [0; 100];
            let received = tokio::time::timeout(WAIT, world.media.recv_from(&mut bytes)).await;
            let (len, from) = received.expect("relayed").expect("receives");
            assert_eq!((&bytes[..len], from), (&[1, 2, 3, 4, 5][..], relayed));
            world.media.send_to(&[6, 7, 8, 9], relayed).await.expect("sends");
            assert_eq!(client.hears().await, [0x40, 0, 0, 4, 6, 7, 8, 9]);
        }

        let (_, code) = client.asks_signed(METHOD_REFRESH, &[(LIFETIME, &[0; 4])]).await;
        assert_eq!(code, 0);
        world.until_relays(0).await;
        assert_eq!(client.asks_signed(METHOD_ALLOCATE, &[TRANSPORT]).await.1, 0, "another one");
        assert_eq!(world.relays(), 1);
    }

    #[tokio::test]
    async fn nothing_is_had_at_an_address_where_the_nonce_was_not_read() {
        let world = World::new().await;
        let (mut reads, mut lies) = (Client::of(&world).await, Client::of(&world).await);
        reads.begins().await;
        lies.nonce.clone_from(&reads.nonce);
        let (challenge, code) = lies.asks_signed(METHOD_ALLOCATE, &[TRANSPORT]).await;
        assert_eq!((code, world.relays()), (438, 0));
        assert_ne!(challenge.get(ATTR_NONCE).expect("its own"), reads.nonce.as_bytes());
    }

    #[tokio::test]
    async fn what_is_no_request_is_not_answered() {
        let world = World::new().await;
        let mut client = Client::of(&world).await;
        let indication = [&[0, 0x16, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[1; 12]].concat();
        for other in [&indication[..], &[0x40, 0, 0, 0], &[0x80, 0x60, 0, 0], b"GET / HTTP/1.1", &[]] {
            client.socket.send(other).await.expect("sends");
        }
        // The first answer is that to the request, which came last.
        client.begins().await;
        assert_eq!(world.turn.counters.dropped.load(Ordering::Relaxed), 5);
    }

    #[test]
    fn so_many_requests_are_answered_in_a_second() {
        let start = Instant::now();
        let mut answers = Answers::new(start);
        let hall = IpAddr::from([192, 0, 2, 1]);
        let admitted = (0..1_000).filter(|_| answers.admit(start, hall)).count();
        assert_eq!(admitted, usize::from(ANSWERS_A_SECOND));
        let mapped = "::ffff:192.0.2.1".parse().expect("an address");
        assert!(!answers.admit(start, mapped), "the same network");
        let networks = (0..100_000_u32).map(|n| IpAddr::from(n.to_be_bytes()));
        let admitted = networks.filter(|from| answers.admit(start, *from)).count();
        assert_eq!(admitted, (ANSWERS_OF_ALL - u32::from(ANSWERS_A_SECOND)) as usize);
        assert!(answers.admit(start + Duration::from_secs(1), hall));
    }
}
