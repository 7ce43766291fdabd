#!/usr/bin/python3
"""One village camera for the demo and the tests: an RTSP server on loopback with digest authentication.

Run one process per camera, so that one of them can be stopped or killed alone. The picture is encoded only
while somebody watches. Ends when its parent does.

Needs Debian's python3-gi, gir1.2-gst-rtsp-server-1.0 and the GStreamer plugins base, good, ugly and x.
"""

import argparse
import os
import signal
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

PATH = "/cam"
PASSWORD_VARIABLE = "HEWEI_DEMO_CAMERA_PASSWORD"

# Name, test picture, and the colours it is drawn in (ARGB).
SCENES = [
    ("望江村 · 村口", "ball motion=sweep animation-mode=running-time", 0xFFFFE08A, 0xFF1F5C3A),
    ("石桥村 · 文化广场", "pinwheel horizontal-speed=2", 0xFFF2F2F2, 0xFF8A1C1C),
    ("梅岭村 · 河堤", "circular horizontal-speed=3", 0xFFD8F0FF, 0xFF16407A),
    ("云溪村 · 调解室", "smpte75 horizontal-speed=1", 0xFFFFFFFF, 0xFF000000),
]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True, help="TCP port on 127.0.0.1; 0 picks one and prints it")
    parser.add_argument("--index", type=int, default=0, help="which picture, counted from 0 (default: 0)")
    parser.add_argument("--name", help="the name in the picture (default: by --index)")
    parser.add_argument("--user", required=True, help="user name for digest authentication")
    parser.add_argument(
        "--password-from-env",
        metavar="VARIABLE",
        nargs="?",
        const=PASSWORD_VARIABLE,
        default=PASSWORD_VARIABLE,
        help=f"take the password from this environment variable (default: {PASSWORD_VARIABLE})",
    )
    parser.add_argument(
        "--audio",
        action=argparse.BooleanOptionalAction,
        help="a quiet tick in G.711 A-law (default: with --index 0 only)",
    )
    parser.add_argument(
        "--parameter-sets",
        choices=["sdp", "in-band"],
        default="sdp",
        help="where SPS and PPS are: only in the SDP, or ahead of each keyframe too",
    )
    parser.add_argument("--mtu", type=int, default=1400, help="largest RTP packet in bytes (default: 1400)")
    return parser.parse_args()


def pipeline(options):
    name, picture, foreground, background = SCENES[options.index % len(SCENES)]
    name = (options.name or name).replace("\\", "").replace('"', "")
    headers = 1 if options.parameter_sets == "in-band" else 0
    video = (
        f"videotestsrc is-live=true pattern={picture} foreground-color={foreground} background-color={background}"
        " ! video/x-raw,format=I420,width=640,height=360,framerate=15/1"
        f' ! textoverlay text="{name}" valignment=top halignment=left shaded-background=true'
        ' font-desc="Noto Sans CJK SC, 16"'
        ' ! clockoverlay time-format="%Y-%m-%d %H:%M:%S" valignment=bottom halignment=right'
        ' shaded-background=true font-desc="Noto Sans CJK SC, 14"'
        " ! x264enc tune=zerolatency speed-preset=superfast bitrate=600 key-int-max=15 threads=1 aud=false"
        f" option-string=repeat-headers={headers}"
        " ! video/x-h264,profile=constrained-baseline,stream-format=avc"
        f" ! rtph264pay name=pay0 pt=96 mtu={options.mtu} config-interval=0 aggregate-mode=none"
    )
    audio = (
        " audiotestsrc is-live=true wave=ticks volume=0.05 samplesperbuffer=160"
        " ! audio/x-raw,format=S16LE,rate=8000,channels=1 ! alawenc"
        " ! rtppcmapay name=pay1 pt=8 min-ptime=20000000 max-ptime=20000000"
    )
    wants_audio = options.index == 0 if options.audio is None else options.audio
    return f"( {video}{audio if wants_audio else ''} )"


def digest_only(user, password):
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_digest(user, password, token)
    return auth


def main():
    options = arguments()
    password = os.environ.pop(options.password_from_env, "")
    if not password:
        sys.exit(f"cameras.py: put the password into the environment variable {options.password_from_env}")

    # The clock in the picture is Beijing's, as everywhere on a wall, whatever the machine's own.
    os.environ["TZ"] = "CST-8"
    Gst.init(None)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(pipeline(options))
    factory.set_shared(True)
    factory.add_role_from_structure(
        Gst.Structure.new_from_string(
            "viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
        )
    )

    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(options.port))
    server.set_auth(digest_only(options.user, password))
    server.get_mount_points().add_factory(PATH, factory)

    loop = GLib.MainLoop()
    if server.attach(None) == 0:
        sys.exit(f"cameras.py: cannot listen on 127.0.0.1:{options.port}")

    # Asked for every half second instead of by PR_SET_PDEATHSIG, which fires when the parent's *thread* ends.
    parent = os.getppid()

    def parent_lives():
        if os.getppid() != parent:
            loop.quit()
        return GLib.SOURCE_CONTINUE

    def forget_stale_sessions():
        server.get_session_pool().cleanup()
        return GLib.SOURCE_CONTINUE

    GLib.timeout_add(500, parent_lives)
    GLib.timeout_add_seconds(5, forget_stale_sessions)
    for number in (signal.SIGINT, signal.SIGTERM):
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, number, loop.quit)

    if options.port == 0:
        print(f"port {server.get_bound_port()}", flush=True)
    print("ready", flush=True)
    loop.run()


if __name__ == "__main__":
    main()
