"""A foreign client publishes a file by WHIP, another one plays it by WHEP, through a real server, over AES-CM.

Runs target/debug/hewei on loopback with a folder of its own, in the venv that `scripts/install.sh test` makes.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEWEI = ROOT / "target/debug/hewei"
CLIENT = ROOT / "scripts/aiortc_client.py"
FRAMES = 50


class Server:
    """One running server, and the room that the tests meet in."""

    def __init__(self, folder: pathlib.Path):
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.url = f"http://{address}"
        self.environment = os.environ | {
            "HEWEI_HTTP_LISTEN": address,
            "HEWEI_MEDIA_BIND": "127.0.0.1",
            "HEWEI_MEDIA_PORT": "0",
            "HEWEI_STORAGE_FOLDER": str(folder),
        }
        self.process = subprocess.Popen([HEWEI, "serve"], env=self.environment)
        self.wait_until_ready()
        mediator = self.token("mediator", "*")
        case = self.post("/api/v1/cases", mediator, {"number": "WHIP-1", "title": "A foreign client"})
        self.room = self.post("/api/v1/rooms", mediator, {"case_id": case["id"], "name": "Room"})["id"]

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/readyz", timeout=5).close()
                return
            except OSError:
                time.sleep(0.1)
        self.stop()
        raise AssertionError("the server is not ready")

    def token(self, role: str, room: str) -> str:
        command = [HEWEI, "token", "--room", room, "--role", role]
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout.strip()

    def post(self, path: str, token: str, body: dict) -> dict:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"POST {path} answered {error.code}: {error.read().decode()}") from None

    def client(self, action: str, *arguments: str) -> subprocess.Popen:
        """The client, with a token and so a seat of its own."""
        url = f"{self.url}/{'whip' if action == 'publish' else 'whep'}/{self.room}"
        environment = os.environ | {"HEWEI_TOKEN": self.token("mediator", self.room)}
        command = [sys.executable, CLIENT, action, "--url", url, *arguments]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)


class ForeignClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="hewei-aiortc-")))
        cls.clip = folder / "clip.mp4"
        picture = ["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"]
        sound = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]
        coding = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"]
        subprocess.run(["ffmpeg", "-v", "error", *picture, *sound, "-t", "4", *coding, cls.clip], check=True)
        cls.server = Server(folder)
        cls.addClassCleanup(cls.server.stop)

    def test_h264(self) -> None:
        self.publish_and_play("H264")

    def test_vp8(self) -> None:
        self.publish_and_play("VP8")

    def publish_and_play(self, codec: str) -> None:
        with self.server.client("publish", "--file", str(self.clip), "--codec", codec, "--seconds", "12") as publisher:
            self.assertEqual(publisher.stdout.readline(), "publishing\n")
            with self.server.client("play", "--frames", str(FRAMES)) as player:
                played = self.result_of(player)
            published = self.result_of(publisher)
        self.assertEqual(published["srtp"], "SRTP_AES128_CM_SHA1_80")
        self.assertEqual(played["srtp"], "SRTP_AES128_CM_SHA1_80")
        self.assertEqual(played["audio"], {"frames": FRAMES})
        self.assertEqual(played["video"], {"frames": FRAMES, "width": 640, "height": 360})

    def result_of(self, client: subprocess.Popen) -> dict:
        # The client has deadlines of its own, and says on standard error which one passed.
        output = client.stdout.read()
        self.assertEqual(client.wait(), 0)
        return json.loads(output)


if __name__ == "__main__":
    unittest.main(verbosity=2)
