"""A WebRTC client that is neither a browser nor ours: aiortc over WHIP (RFC 9725) and WHEP.

    aiortc_client.py publish --url URL/whip/ROOM --file CLIP --seconds 20
    aiortc_client.py play    --url URL/whep/ROOM --frames 50

`publish` prints `publishing` once it is connected. Either ends with one JSON line: the SRTP profile that DTLS agreed on
and, for each kind of media, what was sent or received; or, when that was not achieved before the deadline, with one
line of why and a non-zero status. The bearer token comes in an environment variable, never on the command line. Runs in
the venv that `scripts/install.sh test` makes.
"""

import argparse
import asyncio
import http.client
import json
import os
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request

import aioice.ice
import aiortc.rtcdtlstransport as dtls
from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.contrib.media import MediaPlayer
from aiortc.mediastreams import MediaStreamError

SRTP_PROFILES = {"aes-cm": dtls.SRTP_AES128_CM_SHA1_80, "gcm": dtls.SRTP_AEAD_AES_128_GCM}


class Failure(Exception):
    """Something the peer did or did not do; its text is all that a reader needs."""


class Resource:
    """What a WHIP or WHEP endpoint made for us, until we delete it."""

    def __init__(self, arguments: argparse.Namespace):
        token = os.environ.get(arguments.token_env)
        if not token:
            raise Failure(f"the environment variable {arguments.token_env} holds no token")
        self.authorization = f"Bearer {token}"
        self.tls = ssl.create_default_context(cafile=arguments.ca) if arguments.url.startswith("https:") else None
        self.endpoint = arguments.url
        self.location = None

    async def create(self, offer: str) -> str:
        headers = {"Content-Type": "application/sdp", "Accept": "application/sdp"}
        status, answer_headers, answer = await self._request("POST", self.endpoint, headers, offer.encode())
        location = answer_headers.get("Location")
        if status != 201 or not location:
            raise Failure(f"POST answered {status} with Location {location}; 201 and a Location are due")
        if answer_headers.get_content_type() != "application/sdp":
            raise Failure(f"POST answered with {answer_headers.get_content_type()}; application/sdp is due")
        self.location = urllib.parse.urljoin(self.endpoint, location)
        return answer.decode()

    async def delete(self) -> None:
        if self.location is None:
            return
        status, _, _ = await self._request("DELETE", self.location, {}, None)
        if status not in (200, 204):
            raise Failure(f"DELETE answered {status}; 200 or 204 is due")

    async def _request(self, method: str, url: str, headers: dict, body: bytes | None):
        headers = {"Authorization": self.authorization, **headers}
        request = urllib.request.Request(url, data=body, headers=headers, method=method)

        def exchange():
            try:
                with urllib.request.urlopen(request, timeout=10, context=self.tls) as response:
                    return response.status, response.headers, response.read()
            except urllib.error.HTTPError as error:
                problem = error.read().decode(errors="replace").strip()
                raise Failure(f"{method} {url} answered {error.code}: {problem}") from None
            except (OSError, http.client.HTTPException) as error:
                raise Failure(f"{method} {url}: {error}") from None

        return await asyncio.to_thread(exchange)


class Counter:
    """Takes decoded frames of one track and counts them."""

    def __init__(self, kind: str):
        self.kind = kind
        self.frames = 0
        self.size = None

    async def take(self, track: MediaStreamTrack, frames: int) -> None:
        while self.frames < frames:
            try:
                frame = await track.recv()
            except MediaStreamError:
                raise Failure(f"the {self.kind} track ended after {self.frames} frames") from None
            self.frames += 1
            if self.kind == "video":
                self.size = (frame.width, frame.height)

    def summary(self) -> dict:
        size = {"width": self.size[0], "height": self.size[1]} if self.size else {}
        return {"frames": self.frames, **size}


async def publish(arguments: argparse.Namespace, connection: RTCPeerConnection, resource: Resource) -> dict:
    player = MediaPlayer(arguments.file, loop=True)
    senders = []
    for track in filter(None, (player.audio, player.video)):
        transceiver = connection.addTransceiver(track, direction="sendonly")
        if track.kind == "video":
            transceiver.setCodecPreferences(codecs_named(arguments.codec))
        senders.append(transceiver.sender)
    if not senders:
        raise Failure(f"{arguments.file} has neither sound nor picture")
    await negotiate(connection, resource)
    print("publishing", flush=True)
    await asyncio.sleep(arguments.seconds)
    summary = {"srtp": srtp_profile(connection)}
    for sender in senders:
        sent = [stats for stats in (await sender.getStats()).values() if stats.type == "outbound-rtp"]
        packets = sum(stats.packetsSent for stats in sent)
        if packets == 0:
            raise Failure(f"no {sender.kind} packet was sent")
        summary[sender.kind] = {"packets": packets}
    return summary


async def play(arguments: argparse.Namespace, connection: RTCPeerConnection, resource: Resource) -> dict:
    counters = {kind: Counter(kind) for kind in arguments.kinds}
    takers = []

    @connection.on("track")
    def on_track(track: MediaStreamTrack) -> None:
        takers.append(asyncio.ensure_future(counters[track.kind].take(track, arguments.frames)))

    for kind in arguments.kinds:
        connection.addTransceiver(kind, direction="recvonly")
    await negotiate(connection, resource)
    if len(takers) < len(counters):
        raise Failure(f"the answer accepts {len(takers)} of {len(counters)} tracks")
    try:
        await asyncio.wait_for(asyncio.gather(*takers), arguments.deadline)
    except TimeoutError:
        got = ", ".join(f"{counter.frames} {kind}" for kind, counter in counters.items())
        raise Failure(f"after {arguments.deadline} s: {got} frames of {arguments.frames} each") from None
    return {"srtp": srtp_profile(connection), **{kind: counter.summary() for kind, counter in counters.items()}}


async def negotiate(connection: RTCPeerConnection, resource: Resource) -> None:
    """Offers with every candidate inside, takes the answer, and waits until media can flow."""
    connected = asyncio.Event()

    @connection.on("connectionstatechange")
    def on_state() -> None:
        if connection.connectionState == "connected":
            connected.set()

    await connection.setLocalDescription(await connection.createOffer())
    answer = await resource.create(connection.localDescription.sdp)
    await connection.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
    try:
        await asyncio.wait_for(connected.wait(), 10)
    except TimeoutError:
        raise Failure(f"not connected after 10 s: {connection.connectionState}") from None


def codecs_named(name: str) -> list:
    known = RTCRtpSender.getCapabilities("video").codecs
    return [codec for codec in known if codec.mimeType in (f"video/{name}", "video/rtx")]


def srtp_profile(connection: RTCPeerConnection) -> str:
    # aiortc has no public way to ask this.
    transport = connection.getTransceivers()[0].sender.transport
    return transport._ssl.get_selected_srtp_profile().decode()


def offer_loopback() -> None:
    """aioice never gathers loopback addresses; on a machine without a network there are no others."""
    gathered = aioice.ice.get_host_addresses

    def with_loopback(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        return gathered(use_ipv4, use_ipv6) + (["127.0.0.1"] if use_ipv4 else [])

    aioice.ice.get_host_addresses = with_loopback


async def run(arguments: argparse.Namespace) -> dict:
    offer_loopback()
    dtls.SRTP_PROFILES[:] = [SRTP_PROFILES[arguments.srtp]]
    # RFC 9725, 4.4.2: one transport for everything.
    connection = RTCPeerConnection(RTCConfiguration(bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    resource = Resource(arguments)
    try:
        summary = await arguments.action(arguments, connection, resource)
        await resource.delete()
        return summary
    finally:
        await connection.close()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(required=True, metavar="publish|play")
    publisher = actions.add_parser("publish", help="send a media file, again and again, for some seconds")
    publisher.set_defaults(action=publish)
    publisher.add_argument("--file", required=True, help="anything that FFmpeg reads")
    publisher.add_argument("--seconds", type=float, default=10, help="how long to send")
    publisher.add_argument("--codec", choices=["H264", "VP8"], default="H264", help="for the picture")
    player = actions.add_parser("play", help="receive and decode until there are enough frames")
    player.set_defaults(action=play)
    player.add_argument("--frames", type=int, default=50, help="how many of each kind are enough")
    player.add_argument("--kinds", type=lambda kinds: kinds.split(","), default=["audio", "video"])
    player.add_argument("--deadline", type=float, default=20, help="seconds to wait for them")
    for action in (publisher, player):
        action.add_argument("--url", required=True, help="the WHIP or WHEP endpoint")
        action.add_argument("--token-env", default="HEWEI_TOKEN", help="name of the variable that holds the token")
        action.add_argument("--ca", help="certificate to trust for https, as PEM")
        action.add_argument("--srtp", choices=sorted(SRTP_PROFILES), default="aes-cm", help="the one profile to offer")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        print(json.dumps(asyncio.run(run(parse_arguments()))))
    except Failure as failure:
        sys.exit(f"aiortc: {failure}")
