//! A room as a browser's page is in it: WebSocket and media together.

use std::{
    net::SocketAddr,
    time::{Instant, SystemTime},
};

use hewei_api::{
    problem::Problem,
    ws::{ClientMessage, EndReason, Open, Page, Participant, ServerMessage, Slot as Plan, SlotCount},
};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;

use crate::{
    connection::{Connection, Error, Event},
    media::Media,
    sdp::Shape,
    signalling::{Io, Signalling, SignallingError},
    stun::random,
    track::Outgoing,
};

/// Slots of one kind that a call offers at most, however many the server asks for.
const SLOTS_MAX: usize = 32;

/// Who comes in, and with what.
#[derive(Debug, Clone)]
pub struct Entry {
    /// A token that opens the room.
    pub token: String,
    /// Room.
    pub room_id: String,
    /// Consent to being recorded.
    pub record: bool,
    /// What is offered.
    pub shape: Shape,
    /// Offers more slots when the server asks for more.
    pub grows: bool,
    /// May [come back](Call::come_back) for its media: when it is dropped the server waits for it with them.
    pub comes_back: bool,
}

/// What ended a call.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The WebSocket.
    #[error(transparent)]
    Signalling(#[from] SignallingError),
    /// The media connection.
    #[error("media: {0}")]
    Media(#[from] Error),
    /// No UDP socket.
    #[error("cannot open a UDP socket: {0}")]
    Socket(#[from] std::io::Error),
}

/// What happened in a call.
#[derive(Debug, Clone)]
pub enum CallEvent {
    /// The server knows us.
    Welcome {
        /// One's own id.
        participant_id: String,
        /// Whether one waits to be let in.
        lobby: bool,
        /// Whether the media connection goes on that one came back for.
        resumed: bool,
    },
    /// The mediator let us in.
    Admitted,
    /// Media may flow, protected so.
    Connected(SrtpProtectionProfile),
    /// Who is there.
    Participants(Vec<Participant>),
    /// What plays in which slot.
    Slots(Vec<Plan>),
    /// Whether the session is recorded.
    Recording {
        /// On or off.
        recording: bool,
        /// What went wrong with it.
        fault: Option<String>,
    },
    /// Something of the media connection: a keyframe is wanted, a packet came.
    Media(Event),
    /// The last thing that was said could not be done.
    Refused(Problem),
    /// It is over.
    Ended {
        /// Why.
        reason: EndReason,
        /// The recording, for those who may see it.
        recording_id: Option<String>,
    },
}

/// A call under way. Dropping it is a page that is closed: the seat is kept for a while.
pub struct Call {
    signalling: Signalling,
    /// Before the first answer.
    new: Option<Connection>,
    media: Option<Media>,
    offer_id: u32,
    entry: Entry,
    page: Option<Page>,
    over_tcp: bool,
    /// The server has answered hello on this socket: before that it does not know whose an offer is.
    is_known: bool,
}

impl Call {
    /// Connects in plain and says hello. What the server says to it comes by [`Self::next`].
    ///
    /// # Errors
    /// [`CallError::Signalling`].
    pub async fn enter(server: SocketAddr, entry: Entry) -> Result<Call, CallError> {
        Self::begin(Signalling::connect(server).await?, entry)
    }

    /// Over a connection that is there already.
    ///
    /// # Errors
    /// As [`Self::enter`].
    pub async fn enter_over(stream: Box<dyn Io>, host: &str, entry: Entry) -> Result<Call, CallError> {
        Self::begin(Signalling::over(stream, host).await?, entry)
    }

    fn begin(signalling: Signalling, entry: Entry) -> Result<Call, CallError> {
        let new = Connection::new(entry.shape.clone(), Instant::now(), SystemTime::now())?;
        let page = entry.comes_back.then(|| {
            let id = random::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
            Page { id, returns: false, keeps_media: false }
        });
        let mut call = Call {
            signalling,
            new: Some(new),
            media: None,
            offer_id: 0,
            entry,
            page,
            over_tcp: false,
            is_known: false,
        };
        call.hello()?;
        Ok(call)
    }

    fn hello(&mut self) -> Result<(), CallError> {
        let Entry { token, room_id, record, .. } = &self.entry;
        let (room_id, page) = (room_id.clone(), self.page.clone());
        self.is_known = false;
        let open = Open::Room { room_id, record: *record, page };
        Ok(self.signalling.say(&ClientMessage::Hello { token: token.clone(), open })?)
    }

    /// Media go over TCP from the first answer on.
    pub fn over_tcp(&mut self) {
        self.over_tcp = true;
        self.new.iter_mut().for_each(Connection::over_tcp);
    }

    /// Comes back over another WebSocket without a word on the one before, as a page does whose line broke. The media
    /// connection goes on from another address if the server has kept it, and begins anew otherwise:
    /// [`CallEvent::Welcome`] says which.
    ///
    /// # Errors
    /// [`CallError::Signalling`], [`CallError::Socket`].
    pub async fn come_back(&mut self, server: SocketAddr) -> Result<(), CallError> {
        self.signalling = Signalling::connect(server).await?;
        if let Some(page) = &mut self.page {
            page.returns = true;
            page.keeps_media = self.media.as_ref().is_some_and(|media| media.connection().is_connected());
        }
        self.hello()
    }

    /// What happens next. Offers and answers are seen to in here. Cancelling it loses nothing.
    ///
    /// # Errors
    /// See [`CallError`]; the call is over then.
    pub async fn next(&mut self) -> Result<CallEvent, CallError> {
        loop {
            let event = match &mut self.media {
                Some(media) => tokio::select! {
                    message = self.signalling.next() => self.heard(message?)?,
                    event = media.next() => match event {
                        Event::Connected(profile) => Some(CallEvent::Connected(profile)),
                        Event::Over(error) => return Err(error.into()),
                        event => Some(CallEvent::Media(event)),
                    },
                },
                None => {
                    let message = self.signalling.next().await?;
                    self.heard(message)?
                }
            };
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }

    /// Sends a packet of a track.
    ///
    /// # Errors
    /// [`Error::NotConnected`] before [`CallEvent::Connected`].
    pub fn send(&mut self, track: usize, outgoing: Outgoing<'_>) -> Result<(), Error> {
        self.send_layer(track, 0, outgoing)
    }

    /// The same of one of the sizes of a picture.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_layer(&mut self, track: usize, layer: usize, outgoing: Outgoing<'_>) -> Result<(), Error> {
        let media = self.media.as_mut().ok_or(Error::NotConnected)?;
        media.connection_mut().send_layer(Instant::now(), track, layer, outgoing)?;
        media.flush();
        Ok(())
    }

    /// Says something: consent, mute, what a mediator does.
    ///
    /// # Errors
    /// [`SignallingError::Stuck`].
    pub fn say(&mut self, message: &ClientMessage) -> Result<(), SignallingError> {
        self.signalling.say(message)
    }

    /// The media connection, once the server has answered.
    pub fn connection(&self) -> Option<&Connection> {
        self.media.as_ref().map(Media::connection)
    }

    /// The media connection, to do something with it.
    pub fn connection_mut(&mut self) -> Option<&mut Connection> {
        self.media.as_mut().map(Media::connection_mut)
    }

    /// Goes on from another address and restarts ICE, as a page does whose network changed. Nothing before the first
    /// answer, and while one comes back, which is the same.
    ///
    /// # Errors
    /// [`CallError::Socket`], [`CallError::Signalling`].
    pub fn change_network(&mut self) -> Result<(), CallError> {
        let Some(media) = self.media.as_mut().filter(|_| self.is_known) else { return Ok(()) };
        media.change_address()?;
        media.connection_mut().restart();
        self.offer()
    }

    /// What the server said to hello.
    fn welcomed(&mut self, lobby: bool, resumed: bool) -> Result<(), CallError> {
        self.is_known = true;
        if resumed {
            return self.change_network();
        }
        if self.media.take().is_some() {
            let mut anew = Connection::new(self.entry.shape.clone(), Instant::now(), SystemTime::now())?;
            if self.over_tcp {
                anew.over_tcp();
            }
            self.new = Some(anew);
        }
        if lobby { Ok(()) } else { self.offer() }
    }

    /// Leaves for good: the seat is given up.
    ///
    /// # Errors
    /// When it cannot be said.
    pub async fn leave(mut self) -> Result<(), CallError> {
        self.signalling.say(&ClientMessage::Leave)?;
        self.signalling.flush().await?;
        if let Some(media) = &mut self.media {
            media.close();
        }
        Ok(())
    }

    fn heard(&mut self, message: ServerMessage) -> Result<Option<CallEvent>, CallError> {
        Ok(Some(match message {
            ServerMessage::WelcomeRoom { participant_id, lobby, resumed, .. } => {
                self.welcomed(lobby, resumed)?;
                CallEvent::Welcome { participant_id, lobby, resumed }
            }
            ServerMessage::Admitted => {
                self.offer()?;
                CallEvent::Admitted
            }
            ServerMessage::Answer { offer_id, sdp } => {
                if offer_id == self.offer_id {
                    self.answered(&sdp)?;
                }
                return Ok(None);
            }
            ServerMessage::NeedSlots { slots } => {
                self.grow(slots)?;
                return Ok(None);
            }
            ServerMessage::Participants { participants } => CallEvent::Participants(participants),
            ServerMessage::Slots { slots } => CallEvent::Slots(slots),
            ServerMessage::RecordingChanged { recording, fault, .. } => {
                CallEvent::Recording { recording, fault }
            }
            ServerMessage::Ended { reason, recording_id } => CallEvent::Ended { reason, recording_id },
            ServerMessage::Error { problem } => CallEvent::Refused(problem),
            _ => return Ok(None),
        }))
    }

    fn offer(&mut self) -> Result<(), CallError> {
        let media = self.media.as_mut().map(Media::connection_mut);
        let Some(connection) = media.or(self.new.as_mut()) else { return Ok(()) };
        self.offer_id += 1;
        let message = ClientMessage::Offer { offer_id: self.offer_id, sdp: connection.offer() };
        Ok(self.signalling.say(&message)?)
    }

    fn answered(&mut self, sdp: &str) -> Result<(), CallError> {
        if let Some(media) = &mut self.media {
            return Ok(media.connection_mut().answer(Instant::now(), sdp)?);
        }
        let Some(mut connection) = self.new.take() else { return Ok(()) };
        connection.answer(Instant::now(), sdp)?;
        self.media = Some(Media::open(connection)?);
        Ok(())
    }

    fn grow(&mut self, wanted: SlotCount) -> Result<(), CallError> {
        let Some(media) = self.media.as_mut().filter(|_| self.entry.grows) else { return Ok(()) };
        let connection = media.connection_mut();
        let have = |kind| connection.slots().iter().filter(|slot| slot.kind == kind).count();
        let more = |wanted: u32, kind| (wanted as usize).min(SLOTS_MAX).saturating_sub(have(kind));
        let audio = more(wanted.audio, hewei_model::MediaKind::Audio);
        let video = more(wanted.video, hewei_model::MediaKind::Video);
        if audio + video == 0 {
            return Ok(());
        }
        connection.add_slots(audio, video);
        self.offer()
    }
}
