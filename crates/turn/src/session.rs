//! One client and its one allocation (RFC 8656 §5).

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use ring::hmac;

use crate::{
    credentials::Secret,
    message::{Class, Message, Writer},
};

const BINDING: u16 = 0x001;
const ALLOCATE: u16 = 0x003;
const REFRESH: u16 = 0x004;
const SEND: u16 = 0x006;
const DATA: u16 = 0x007;
const CREATE_PERMISSION: u16 = 0x008;
const CHANNEL_BIND: u16 = 0x009;

const USERNAME: u16 = 0x0006;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const CHANNEL_NUMBER: u16 = 0x000c;
const LIFETIME: u16 = 0x000d;
const XOR_PEER_ADDRESS: u16 = 0x0012;
const DATA_VALUE: u16 = 0x0013;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const XOR_RELAYED_ADDRESS: u16 = 0x0016;
const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
const EVEN_PORT: u16 = 0x0018;
const REQUESTED_TRANSPORT: u16 = 0x0019;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const RESERVATION_TOKEN: u16 = 0x0022;

/// What a request may hold that has to be understood (RFC 8489 §14). `DONT-FRAGMENT` is not among them: there is no
/// network behind us on which it would mean something.
const UNDERSTOOD: [u16; 12] = [
    USERNAME,
    CHANNEL_NUMBER,
    LIFETIME,
    XOR_PEER_ADDRESS,
    DATA_VALUE,
    REALM,
    NONCE,
    REQUESTED_ADDRESS_FAMILY,
    EVEN_PORT,
    REQUESTED_TRANSPORT,
    RESERVATION_TOKEN,
    0x8028, // FINGERPRINT
];
const UDP: u8 = 17;
const CHANNELS: std::ops::RangeInclusive<u16> = 0x4000..=0x4fff;

/// RFC 8656 §3.2: the default, and here the most too, so that ended credentials soon end what they opened.
const ALLOCATION: Duration = Duration::from_secs(600);
/// RFC 8656 §9.
const PERMISSION: Duration = Duration::from_secs(300);
/// RFC 8656 §12.
const CHANNEL: Duration = Duration::from_secs(600);
/// Bytes that one allocation may carry each way in a second: sixteen tiles of 1.5 Mbit/s.
const BYTES_A_SECOND: u32 = 3_000_000;

/// What all sessions share.
pub struct Server {
    /// What names and passwords are for; a word that clients repeat.
    pub realm: String,
    /// Makes and checks credentials.
    pub secret: Secret,
    /// The one peer.
    pub peer: SocketAddr,
}

/// What is to be done about a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It is no message of TURN.
    Malformed,
    /// Nothing.
    Nothing,
    /// What was to be relayed may not be: no permission, another peer, or too much of it.
    Dropped,
    /// Send this back.
    Reply(Vec<u8>),
    /// Send this back; the request was refused with this code.
    Refused(u16, Vec<u8>),
    /// Give this to the peer.
    Relay(&'a [u8]),
    /// An allocation is asked for, by the seat with this name, which may: open a relay and say so by
    /// [`Session::allocated`], or refuse by [`Session::not_allocated`]. Whatever credentials a seat was handed, its name
    /// is the same.
    Allocate(String),
    /// The allocation has ended; send this back.
    Ended(Vec<u8>),
}

struct Allocation {
    username: String,
    key: hmac::Key,
    relayed: SocketAddr,
    transaction: [u8; 12],
    expires_at: Instant,
    permitted_until: Option<Instant>,
    channel: Option<(u16, Instant)>,
    up: Budget,
    down: Budget,
}

/// Who asked for an allocation that is not there yet.
struct Asking {
    username: String,
    key: hmac::Key,
    transaction: [u8; 12],
}

/// One client, known by where its messages come from.
pub struct Session {
    client: SocketAddr,
    asking: Option<Asking>,
    allocation: Option<Allocation>,
}

impl Session {
    /// A client that has said nothing yet.
    pub fn new(client: SocketAddr) -> Self {
        Self { client, asking: None, allocation: None }
    }

    /// Takes a message in, or channel data. `unix` is the time of day in seconds since 1970, for credentials.
    pub fn receive<'a>(&mut self, server: &Server, now: Instant, unix: u64, bytes: &'a [u8]) -> Outcome<'a> {
        self.expire(now);
        if bytes.first().is_some_and(|first| (0x40..=0x4f).contains(first)) {
            return self.channel_data(now, bytes);
        }
        let Some(message) = Message::parse(bytes) else { return Outcome::Malformed };
        match (message.class, message.method) {
            (Class::Indication, SEND) => self.send(server, now, &message),
            (Class::Request, BINDING) => {
                let reply = Writer::new(Class::Success, BINDING, message.transaction());
                Outcome::Reply(reply.address(XOR_MAPPED_ADDRESS, self.client).finish(None))
            }
            (Class::Request, ALLOCATE | REFRESH | CREATE_PERMISSION | CHANNEL_BIND) => {
                self.request(server, now, unix, &message)
            }
            _ => Outcome::Nothing,
        }
    }

    /// Writes what the peer sent as the client is to get it. `false` when it is to get nothing.
    pub fn to_client(&mut self, server: &Server, now: Instant, datagram: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(allocation) = self.allocation.as_mut().filter(|allocation| allocation.expires_at > now)
        else {
            return false;
        };
        let permitted = allocation.permitted_until.is_some_and(|until| until > now);
        if !permitted || !allocation.down.take(now, datagram.len()) {
            return false;
        }
        out.clear();
        match allocation.channel.filter(|(_, until)| *until > now) {
            Some((channel, _)) => {
                out.extend(channel.to_be_bytes());
                out.extend((datagram.len() as u16).to_be_bytes());
                out.extend(datagram);
                out.resize(out.len().next_multiple_of(4), 0);
            }
            None => {
                // An indication is answered by nobody; its number says nothing.
                let data = Writer::new(Class::Indication, DATA, [0; 12])
                    .address(XOR_PEER_ADDRESS, server.peer)
                    .attribute(DATA_VALUE, datagram);
                out.extend(data.finish(None));
            }
        }
        true
    }

    /// The relay that was asked for is open at this address. Gives the reply.
    pub fn allocated(&mut self, now: Instant, relayed: SocketAddr) -> Vec<u8> {
        let Some(Asking { username, key, transaction }) = self.asking.take() else { return Vec::new() };
        let allocation = Allocation {
            username,
            key,
            relayed,
            transaction,
            expires_at: now + ALLOCATION,
            permitted_until: None,
            channel: None,
            up: Budget::new(now),
            down: Budget::new(now),
        };
        let reply = self.allocation_reply(&allocation);
        self.allocation = Some(allocation);
        reply
    }

    /// No relay can be opened: 486 when this name or address has too many, 508 when there are too many in all.
    pub fn not_allocated(&mut self, code: u16) -> Vec<u8> {
        let Some(asking) = self.asking.take() else { return Vec::new() };
        Writer::new(Class::Error, ALLOCATE, asking.transaction).error(code).finish(Some(&asking.key))
    }

    /// Where the client is.
    pub fn client(&self) -> SocketAddr {
        self.client
    }

    /// When the allocation ends if nothing is heard; `None` while there is none.
    pub fn expires_at(&self) -> Option<Instant> {
        self.allocation.as_ref().map(|allocation| allocation.expires_at)
    }

    fn expire(&mut self, now: Instant) {
        self.allocation = self.allocation.take().filter(|allocation| allocation.expires_at > now);
    }

    fn allocation_reply(&self, allocation: &Allocation) -> Vec<u8> {
        Writer::new(Class::Success, ALLOCATE, allocation.transaction)
            .address(XOR_RELAYED_ADDRESS, allocation.relayed)
            .attribute(LIFETIME, &(ALLOCATION.as_secs() as u32).to_be_bytes())
            .address(XOR_MAPPED_ADDRESS, self.client)
            .finish(Some(&allocation.key))
    }

    fn request(
        &mut self,
        server: &Server,
        now: Instant,
        unix: u64,
        message: &Message<'_>,
    ) -> Outcome<'static> {
        let reply = |code| Writer::new(Class::Error, message.method, message.transaction()).error(code);
        let challenge = |code| {
            let nonce = server.secret.nonce(self.client, unix);
            let reply = reply(code).attribute(REALM, server.realm.as_bytes());
            Outcome::Refused(code, reply.attribute(NONCE, nonce.as_bytes()).finish(None))
        };
        // RFC 8489 §9.2.4, in its order.
        if !message.has_integrity() {
            return challenge(401);
        }
        let names = (message.text(USERNAME), message.text(REALM), message.text(NONCE));
        let (Some(username), Some(realm), Some(nonce)) = names else {
            return Outcome::Refused(400, reply(400).finish(None));
        };
        if !server.secret.knows_nonce(nonce, self.client, unix) {
            return challenge(438);
        }
        let key = server.secret.key(username, &server.realm, unix).filter(|_| realm == server.realm);
        let Some(key) = key.filter(|key| message.authenticates(key)) else { return challenge(401) };

        let refuse = |code| Outcome::Refused(code, reply(code).finish(Some(&key)));
        if self.allocation.as_ref().is_some_and(|allocation| allocation.username != username) {
            return refuse(441);
        }
        let unknown: Vec<u8> = message
            .attributes()
            .map(|(attribute, _)| attribute)
            .filter(|attribute| *attribute < 0x8000 && !UNDERSTOOD.contains(attribute))
            .flat_map(u16::to_be_bytes)
            .collect();
        if !unknown.is_empty() {
            return Outcome::Refused(
                420,
                reply(420).attribute(UNKNOWN_ATTRIBUTES, &unknown).finish(Some(&key)),
            );
        }
        match (message.method, &mut self.allocation) {
            (ALLOCATE, Some(allocation)) if allocation.transaction == message.transaction() => {
                // The reply was lost.
                let again = self.allocation.as_ref().map(|allocation| self.allocation_reply(allocation));
                Outcome::Reply(again.unwrap_or_default())
            }
            (ALLOCATE, None) => match allocate(server, message) {
                Some(code) => refuse(code),
                None => {
                    let transaction = message.transaction();
                    self.asking = Some(Asking { username: username.to_owned(), key, transaction });
                    let seat = username.split_once(':').map_or(username, |(_, seat)| seat);
                    Outcome::Allocate(seat.to_owned())
                }
            },
            (ALLOCATE, Some(_)) | (_, None) => refuse(437),
            (REFRESH, Some(allocation)) => {
                let ends = message.attribute(LIFETIME).is_some_and(|value| value == [0; 4]);
                let lifetime = if ends { Duration::ZERO } else { ALLOCATION };
                allocation.expires_at = now + lifetime;
                let reply = Writer::new(Class::Success, REFRESH, message.transaction())
                    .attribute(LIFETIME, &(lifetime.as_secs() as u32).to_be_bytes())
                    .finish(Some(&key));
                if ends {
                    self.allocation = None;
                    return Outcome::Ended(reply);
                }
                Outcome::Reply(reply)
            }
            (CREATE_PERMISSION, Some(allocation)) => {
                let mut peers = message.attributes().filter(|(attribute, _)| *attribute == XOR_PEER_ADDRESS);
                let Some(first) = peers.next() else { return refuse(400) };
                for (_, value) in std::iter::once(first).chain(peers) {
                    match message.address(value) {
                        None => return refuse(400),
                        Some(peer) if peer.ip() != server.peer.ip() => return refuse(403),
                        Some(_) => {}
                    }
                }
                allocation.permitted_until = Some(now + PERMISSION);
                let reply = Writer::new(Class::Success, CREATE_PERMISSION, message.transaction());
                Outcome::Reply(reply.finish(Some(&key)))
            }
            (_, Some(allocation)) => {
                let channel = message.attribute(CHANNEL_NUMBER).and_then(|value| value.first_chunk());
                let channel = channel.map(|value| u16::from_be_bytes(*value));
                let peer = message.attribute(XOR_PEER_ADDRESS).and_then(|value| message.address(value));
                let (Some(channel), Some(peer)) = (channel, peer) else { return refuse(400) };
                if peer != server.peer {
                    return refuse(403);
                }
                // A channel that is bound stays what it is; there is one peer, and so one channel.
                let bound = allocation.channel.filter(|(_, until)| *until > now);
                if !CHANNELS.contains(&channel) || bound.is_some_and(|(bound, _)| bound != channel) {
                    return refuse(400);
                }
                allocation.channel = Some((channel, now + CHANNEL));
                allocation.permitted_until = Some(now + PERMISSION);
                let reply = Writer::new(Class::Success, CHANNEL_BIND, message.transaction());
                Outcome::Reply(reply.finish(Some(&key)))
            }
        }
    }

    fn send<'a>(&mut self, server: &Server, now: Instant, message: &Message<'a>) -> Outcome<'a> {
        let Some(allocation) = &mut self.allocation else { return Outcome::Dropped };
        let peer = message.attribute(XOR_PEER_ADDRESS).and_then(|value| message.address(value));
        let permitted = allocation.permitted_until.is_some_and(|until| until > now);
        match message.attribute(DATA_VALUE) {
            Some(data) if permitted && peer == Some(server.peer) && allocation.up.take(now, data.len()) => {
                Outcome::Relay(data)
            }
            _ => Outcome::Dropped,
        }
    }

    fn channel_data<'a>(&mut self, now: Instant, bytes: &'a [u8]) -> Outcome<'a> {
        let Some((head, rest)) = bytes.split_first_chunk::<4>() else { return Outcome::Malformed };
        let channel = u16::from_be_bytes([head[0], head[1]]);
        let Some(data) = rest.get(..usize::from(u16::from_be_bytes([head[2], head[3]]))) else {
            return Outcome::Malformed;
        };
        let Some(allocation) = &mut self.allocation else { return Outcome::Dropped };
        let permitted = allocation.permitted_until.is_some_and(|until| until > now);
        let bound = allocation.channel.is_some_and(|(bound, until)| bound == channel && until > now);
        if permitted && bound && allocation.up.take(now, data.len()) {
            Outcome::Relay(data)
        } else {
            Outcome::Dropped
        }
    }
}

/// What is wrong with a request for an allocation.
fn allocate(server: &Server, message: &Message<'_>) -> Option<u16> {
    let transport = message.attribute(REQUESTED_TRANSPORT);
    let ours = match server.peer.ip() {
        IpAddr::V4(_) => 1,
        IpAddr::V6(_) => 2,
    };
    let family = message.attribute(REQUESTED_ADDRESS_FAMILY);
    if message.attribute(RESERVATION_TOKEN).is_some() || message.attribute(EVEN_PORT).is_some() {
        return Some(508);
    }
    match transport.and_then(|value| value.first()) {
        None => Some(400),
        Some(transport) if *transport != UDP => Some(442),
        Some(_) if family.is_some_and(|value| value.first() != Some(&ours)) => Some(440),
        Some(_) => None,
    }
}

/// Bytes that may still be carried within this second.
struct Budget {
    left: u32,
    since: Instant,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self { left: BYTES_A_SECOND, since: now }
    }

    fn take(&mut self, now: Instant, bytes: usize) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            *self = Self::new(now);
        }
        match self.left.checked_sub(u32::try_from(bytes).unwrap_or(u32::MAX)) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use md5::{Digest, Md5};
    use proptest::prelude::*;
    use rtc_crypto::RTCCryptoProvider;
    use rtc_stun::{
        attributes::{ATTR_NONCE, ATTR_REALM, AttrType},
        error_code::ErrorCodeAttribute,
        integrity::MessageIntegrity,
        message::{
            CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, Getter, METHOD_ALLOCATE, METHOD_CHANNEL_BIND,
            METHOD_CREATE_PERMISSION, METHOD_REFRESH, Message as Foreign, MessageClass, MessageType, Setter,
            TransactionId,
        },
        textattrs::TextAttribute,
        xoraddr::XorMappedAddress,
    };

    use super::*;
    use crate::credentials::Credentials;

    const UNIX: u64 = 1_800_000_000;

    fn client() -> SocketAddr {
        ([198, 51, 100, 7], 40_000).into()
    }

    fn server() -> Server {
        Server {
            realm: "hewei".to_owned(),
            secret: Secret::derive(&[7; 32]),
            peer: ([192, 0, 2, 1], 8443).into(),
        }
    }

    /// A client that we did not write, as far as messages go.
    struct World {
        provider: Arc<dyn RTCCryptoProvider>,
        server: Server,
        session: Session,
        now: Instant,
        unix: u64,
        credentials: Credentials,
        nonce: String,
        transactions: u8,
    }

    /// What came back.
    struct Reply {
        class: MessageClass,
        code: u16,
        message: Foreign,
    }

    impl World {
        fn new() -> World {
            let server = server();
            let credentials = server.secret.issue(UNIX + 3_600, "seat");
            let nonce = server.secret.nonce(client(), UNIX);
            let (session, now) = (Session::new(client()), Instant::now());
            let provider = rtc_crypto::default_provider().expect("ring");
            World { provider, server, session, now, unix: UNIX, credentials, nonce, transactions: 0 }
        }

        fn request(&mut self, method: u16, signed: bool, attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
            self.transactions += 1;
            let mut message = Foreign::new();
            let method = match method {
                ALLOCATE => METHOD_ALLOCATE,
                REFRESH => METHOD_REFRESH,
                CREATE_PERMISSION => METHOD_CREATE_PERMISSION,
                _ => METHOD_CHANNEL_BIND,
            };
            let kind = MessageType { method, class: CLASS_REQUEST };
            let setters: Vec<Box<dyn Setter>> =
                vec![Box::new(kind), Box::new(TransactionId([self.transactions; 12]))];
            message.build(&setters).expect("builds");
            for (attribute, value) in attributes {
                message.add(AttrType(*attribute), value);
            }
            if signed {
                let Credentials { username, password } = self.credentials.clone();
                for (attribute, text) in
                    [(USERNAME, username.clone()), (REALM, "hewei".to_owned()), (NONCE, self.nonce.clone())]
                {
                    TextAttribute::new(AttrType(attribute), text).add_to(&mut message).expect("adds");
                }
                let (realm, crypto) = ("hewei".to_owned(), self.provider.crypto());
                MessageIntegrity::new_long_term_integrity_with_provider(username, realm, password, crypto)
                    .expect("a key")
                    .add_to(&mut message)
                    .expect("adds");
            }
            message.raw.to_vec()
        }

        /// The reply to a request; an allocation that may be is made.
        fn asks(&mut self, method: u16, signed: bool, attributes: &[(u16, Vec<u8>)]) -> Reply {
            let request = self.request(method, signed, attributes);
            let (bytes, code) = match self.session.receive(&self.server, self.now, self.unix, &request) {
                Outcome::Reply(bytes) | Outcome::Ended(bytes) => (bytes, 0),
                Outcome::Refused(code, bytes) => (bytes, code),
                Outcome::Allocate(seat) => {
                    assert_eq!(seat, "seat", "whenever its credentials end");
                    (self.session.allocated(self.now, ([127, 0, 0, 1], 5_000).into()), 0)
                }
                other => panic!("{other:?}"),
            };
            let mut message = Foreign::new();
            message.write(&bytes).expect("a foreign parser reads it");
            assert_eq!(message.transaction_id, TransactionId([self.transactions; 12]));
            if code != 0 {
                let mut said = ErrorCodeAttribute::default();
                said.get_from(&message).expect("says why");
                assert_eq!(said.code.0, code);
            }
            if signed && ![401, 438].contains(&code) {
                let Credentials { username, password } = self.credentials.clone();
                let key = Md5::digest(format!("{username}:hewei:{password}"));
                MessageIntegrity::check(&mut message, &key, self.provider.crypto()).expect("it is signed");
            }
            Reply { class: message.typ.class, code, message }
        }

        fn allocated() -> World {
            let mut world = World::new();
            let reply = world.asks(ALLOCATE, true, &[(REQUESTED_TRANSPORT, vec![UDP, 0, 0, 0])]);
            assert_eq!(reply.class, CLASS_SUCCESS_RESPONSE);
            world
        }

        fn peer(&self, ip: [u8; 4], port: u16) -> (u16, Vec<u8>) {
            let written =
                Writer::new(Class::Request, BINDING, [0; 12]).address(0, (ip, port).into()).finish(None);
            (XOR_PEER_ADDRESS, written[24..].to_vec())
        }

        fn indicates(&mut self, peer: (u16, Vec<u8>), data: &[u8]) -> bool {
            let send = Writer::new(Class::Indication, SEND, [9; 12])
                .attribute(peer.0, &peer.1)
                .attribute(DATA_VALUE, data)
                .finish(None);
            match self.session.receive(&self.server, self.now, self.unix, &send) {
                Outcome::Relay(relayed) => {
                    assert_eq!(relayed, data);
                    true
                }
                Outcome::Dropped => false,
                other => panic!("{other:?}"),
            }
        }

        fn sends_on(&mut self, channel: u16, data: &[u8]) -> bool {
            let mut bytes = [&channel.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat();
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            match self.session.receive(&self.server, self.now, self.unix, &bytes) {
                Outcome::Relay(relayed) => {
                    assert_eq!(relayed, data);
                    true
                }
                Outcome::Dropped => false,
                other => panic!("{other:?}"),
            }
        }

        fn gets(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
            let mut out = Vec::new();
            self.session.to_client(&self.server, self.now, datagram, &mut out).then_some(out)
        }
    }

    const TRANSPORT: (u16, [u8; 4]) = (REQUESTED_TRANSPORT, [UDP, 0, 0, 0]);

    #[test]
    fn who_has_no_credentials_is_asked_for_them_and_who_has_some_gets_an_allocation() {
        let mut world = World::new();
        let reply = world.asks(ALLOCATE, false, &[(TRANSPORT.0, TRANSPORT.1.to_vec())]);
        assert_eq!(reply.code, 401);
        assert_eq!(reply.message.get(ATTR_REALM).expect("told"), b"hewei");
        assert!(reply.message.get(ATTR_NONCE).is_ok());

        let reply = world.asks(ALLOCATE, true, &[(TRANSPORT.0, TRANSPORT.1.to_vec())]);
        assert_eq!(reply.code, 0);
        let mut later = World::new();
        later.credentials = later.server.secret.issue(UNIX + 7_200, "seat");
        assert_eq!(later.asks(ALLOCATE, true, &[(TRANSPORT.0, TRANSPORT.1.to_vec())]).code, 0);
        let mut mapped = XorMappedAddress::default();
        mapped.get_from(&reply.message).expect("told");
        assert_eq!(SocketAddr::new(mapped.ip, mapped.port), client());
        mapped.get_from_as(&reply.message, AttrType(XOR_RELAYED_ADDRESS)).expect("told");
        assert_eq!(SocketAddr::new(mapped.ip, mapped.port), ([127, 0, 0, 1], 5_000).into());
        assert_eq!(
            world.asks(ALLOCATE, true, &[(TRANSPORT.0, TRANSPORT.1.to_vec())]).code,
            437,
            "one a client"
        );
    }

    #[test]
    fn wrong_ended_and_stale_credentials_are_refused() {
        let ask = [(TRANSPORT.0, TRANSPORT.1.to_vec())];
        let mut world = World::new();
        world.credentials.password = "another".to_owned();
        assert_eq!(world.asks(ALLOCATE, true, &ask).code, 401);
        let mut world = World::new();
        world.credentials.username = format!("{}:seat", UNIX + 7_200);
        assert_eq!(world.asks(ALLOCATE, true, &ask).code, 401, "a later end than was given");
        let mut world = World::new();
        world.nonce = "made up".to_owned();
        assert_eq!(world.asks(ALLOCATE, true, &ask).code, 438);

        // What is allocated ends soon after what it was allocated with.
        let mut world = World::allocated();
        world.unix += 3_600;
        world.nonce = world.server.secret.nonce(client(), world.unix);
        assert_eq!(world.asks(REFRESH, true, &[]).code, 401);
        world.now += ALLOCATION;
        let (peer, data) = (world.peer([192, 0, 2, 1], 8443), [1; 20]);
        assert!(!world.indicates(peer, &data));
        assert_eq!(world.session.expires_at(), None);

        let mut world = World::allocated();
        world.credentials = world.server.secret.issue(UNIX + 3_600, "somebody else");
        assert_eq!(world.asks(REFRESH, true, &[]).code, 441);
    }

    #[test]
    fn there_is_one_peer_and_it_is_this_server() {
        let mut world = World::allocated();
        let (ours, data) = (world.peer([192, 0, 2, 1], 8443), [1, 2, 3, 4, 5]);
        assert!(!world.indicates(ours.clone(), &data), "not before it is permitted");
        assert_eq!(world.gets(&data), None);
        for other in [[192, 0, 2, 2], [127, 0, 0, 1], [10, 0, 0, 1], [169, 254, 169, 254], [0, 0, 0, 0]] {
            let peer = world.peer(other, 8443);
            assert_eq!(world.asks(CREATE_PERMISSION, true, std::slice::from_ref(&peer)).code, 403);
            assert_eq!(world.asks(CREATE_PERMISSION, true, &[ours.clone(), peer.clone()]).code, 403);
            let channel = (CHANNEL_NUMBER, vec![0x40, 1, 0, 0]);
            assert_eq!(world.asks(CHANNEL_BIND, true, &[channel, peer.clone()]).code, 403);
            assert!(!world.indicates(peer, &data));
        }
        assert_eq!(world.gets(&data), None, "nothing was permitted by what was refused");
        assert_eq!(world.asks(CREATE_PERMISSION, true, std::slice::from_ref(&ours)).code, 0);
        assert!(world.indicates(ours.clone(), &data));
        let (port, channel) = (world.peer([192, 0, 2, 1], 22), (CHANNEL_NUMBER, vec![0x40, 1, 0, 0]));
        assert!(!world.indicates(port.clone(), &data), "another port of this server");
        assert_eq!(world.asks(CHANNEL_BIND, true, &[channel, port]).code, 403);
        let indication = world.gets(&data).expect("permitted");
        let parsed = Message::parse(&indication).expect("an indication");
        assert_eq!((parsed.class, parsed.method), (Class::Indication, DATA));
        assert_eq!(parsed.attribute(DATA_VALUE), Some(&data[..]));
        let from = parsed.attribute(XOR_PEER_ADDRESS).and_then(|value| parsed.address(value));
        assert_eq!(from, Some(world.server.peer));
        world.now += PERMISSION;
        assert!(!world.indicates(ours, &data), "a permission ends");
        assert_eq!(world.gets(&data), None);
    }

    #[test]
    fn a_channel_carries_both_ways_and_is_one() {
        let mut world = World::allocated();
        let (ours, data) = (world.peer([192, 0, 2, 1], 8443), [1, 2, 3, 4, 5]);
        for number in [0x3fff_u16, 0x5000] {
            let channel = (CHANNEL_NUMBER, [&number.to_be_bytes()[..], &[0, 0]].concat());
            assert_eq!(world.asks(CHANNEL_BIND, true, &[channel, ours.clone()]).code, 400);
        }
        let channel = (CHANNEL_NUMBER, vec![0x40, 0, 0, 0]);
        assert_eq!(world.asks(CHANNEL_BIND, true, &[channel.clone(), ours.clone()]).code, 0);
        assert!(world.sends_on(0x4000, &data));
        assert!(!world.sends_on(0x4001, &data));
        assert_eq!(world.gets(&data), Some(vec![0x40, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0]));
        let second = (CHANNEL_NUMBER, vec![0x40, 1, 0, 0]);
        assert_eq!(world.asks(CHANNEL_BIND, true, &[second, ours.clone()]).code, 400);
        world.now += PERMISSION;
        assert!(!world.sends_on(0x4000, &data), "the channel is bound longer than it is permitted");
        assert_eq!(world.asks(CHANNEL_BIND, true, &[channel, ours]).code, 0);
        assert!(world.sends_on(0x4000, &data));
        assert_eq!(world.asks(REFRESH, true, &[(LIFETIME, vec![0; 4])]).code, 0);
        assert!(!world.sends_on(0x4000, &data), "it was given back");
    }

    #[test]
    fn what_an_allocation_carries_has_an_end_each_second() {
        let mut world = World::allocated();
        let ours = world.peer([192, 0, 2, 1], 8443);
        assert_eq!(world.asks(CREATE_PERMISSION, true, std::slice::from_ref(&ours)).code, 0);
        let data = [0; 1_000];
        let up = (0..10_000).filter(|_| world.indicates(ours.clone(), &data)).count();
        let down = (0..10_000).filter(|_| world.gets(&data).is_some()).count();
        assert_eq!((up, down), (3_000, 3_000));
        world.now += Duration::from_secs(1);
        assert!(world.indicates(ours, &data) && world.gets(&data).is_some());
    }

    #[test]
    fn requests_that_cannot_be_met_are_refused_by_their_code() {
        let mut world = World::new();
        for (attributes, code) in [
            (vec![], 400),
            (vec![(REQUESTED_TRANSPORT, vec![6, 0, 0, 0])], 442),
            (vec![(TRANSPORT.0, TRANSPORT.1.to_vec()), (REQUESTED_ADDRESS_FAMILY, vec![2, 0, 0, 0])], 440),
            (vec![(TRANSPORT.0, TRANSPORT.1.to_vec()), (EVEN_PORT, vec![0])], 508),
            (vec![(TRANSPORT.0, TRANSPORT.1.to_vec()), (0x001a, vec![])], 420),
            (vec![(TRANSPORT.0, TRANSPORT.1.to_vec()), (0x7fff, vec![1])], 420),
        ] {
            assert_eq!(world.asks(ALLOCATE, true, &attributes).code, code);
        }
        for method in [REFRESH, CREATE_PERMISSION, CHANNEL_BIND] {
            assert_eq!(world.asks(method, true, &[]).code, 437);
        }
        let request = world.request(ALLOCATE, true, &[(TRANSPORT.0, TRANSPORT.1.to_vec())]);
        let (now, unix) = (world.now, world.unix);
        assert!(matches!(world.session.receive(&world.server, now, unix, &request), Outcome::Allocate(_)));
        let refused = world.session.not_allocated(486);
        assert!(Message::parse(&refused).is_some_and(|message| message.class == Class::Error));
        assert_eq!(world.session.expires_at(), None);
    }

    #[test]
    fn a_changed_byte_is_refused() {
        let mut world = World::allocated();
        let ours = world.peer([192, 0, 2, 1], 8443);
        let request = world.request(CREATE_PERMISSION, true, &[ours]);
        for at in 0..request.len() {
            let mut broken = request.clone();
            broken[at] ^= 1;
            let (now, unix) = (world.now, world.unix);
            let outcome = world.session.receive(&world.server, now, unix, &broken);
            assert!(!matches!(outcome, Outcome::Reply(_)), "{at}");
        }
        assert_eq!(world.gets(&[1]), None);
    }

    proptest! {
        #[test]
        fn nothing_that_comes_panics_or_is_relayed(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut world = World::allocated();
            let (now, unix) = (world.now, world.unix);
            let outcome = world.session.receive(&world.server, now, unix, &bytes);
            prop_assert!(!matches!(outcome, Outcome::Relay(_) | Outcome::Allocate(_) | Outcome::Ended(_)));
            if bytes.len() >= 20 {
                let len = (bytes.len() - 20) as u16;
                bytes[2..4].copy_from_slice(&len.to_be_bytes());
                bytes[4..8].copy_from_slice(&crate::message::COOKIE.to_be_bytes());
                bytes[0] &= 1;
                let outcome = world.session.receive(&world.server, now, unix, &bytes);
                prop_assert!(!matches!(outcome, Outcome::Relay(_) | Outcome::Allocate(_) | Outcome::Ended(_)));
            }
        }
    }
}
