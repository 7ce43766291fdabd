#!/usr/bin/python3
"""Makes the tapes of the demo's two robot parties: a drawn figure that speaks a made-up, harmless dispute in turns.

A tape is what a robot sends, over and over: RTP payloads of H.264 (640x360, 15 frames and one keyframe a second) and
Opus, with their timestamps. Both tapes have one length, so that whoever starts them together hears a dialogue.

    tape    = "HEWEITP1" length_ms:u32 record*        all numbers big-endian, records in the order of their time
    record  = track:u8 marker:u8 ticks:u32 bytes:u16 payload
    track   = 0 Opus (48,000 ticks a second) | 1 H.264 (90,000)

Speaks with espeak-ng's Mandarin voice; without it, in tones. Needs Debian's python3-gi, python3-gi-cairo,
gir1.2-pango-1.0, a Chinese face and the GStreamer plugins base, good and ugly. Prints "ready" when both are there.
"""

import argparse
import array
import math
import os
import shutil
import struct
import subprocess
import sys

import cairo
import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("Pango", "1.0")
gi.require_version("PangoCairo", "1.0")
from gi.repository import Gst, GstApp, Pango, PangoCairo  # noqa: E402, F401

WIDTH, HEIGHT, FPS = 640, 360, 15
RATE = 48_000
FRAME = RATE // FPS
MAGIC = b"HEWEITP1"
AUDIO, VIDEO = 0, 1
PAYLOAD_MAX = 1_100
PAUSE_S = 0.7
FACE = "Noto Sans CJK SC"
# A tile of a wide window cuts off a little above and below, and has the name of the person at its foot.
TOP, FOOT = 30, 296

# Voice: espeak-ng's variant, pitch and words a minute, and the tone without it. Colours: wall, coat, hair, skin.
ROBOTS = [
    {
        "voice": ("cmn", 30, 165, 120.0),
        "wall": ((0.87, 0.91, 0.86), (0.70, 0.79, 0.71)),
        "coat": (0.24, 0.38, 0.33),
        "hair": (0.33, 0.33, 0.35),
        "skin": (0.89, 0.75, 0.63),
        "glasses": False,
    },
    {
        "voice": ("cmn+m3", 55, 170, 165.0),
        "wall": ((0.91, 0.88, 0.82), (0.80, 0.74, 0.64)),
        "coat": (0.27, 0.33, 0.50),
        "hair": (0.16, 0.15, 0.16),
        "skin": (0.93, 0.80, 0.69),
        "glasses": True,
    },
]

# Who says it, and what; the second line is for who does not read Chinese.
LINES = [
    (0, "您好,我是机器人甲,替甲方说话。", "Good day. I am robot A and speak for party A."),
    (1, "我是机器人乙。今天说的事是编的。", "I am robot B. What we speak of is made up."),
    (0, "去年他修水渠,水漫过田埂,淹了我三分地的青苗。", "Last year his ditch ran over and drowned my seedlings."),
    (1, "渠是我挖的,可那天雨太大,我没有想到。", "I dug it. But it rained so hard; I did not foresee that."),
    (0, "我不争高低。青苗的钱,请您认一半。", "I want no quarrel. Pay half of the seedlings."),
    (1, "一半我认。渠边我再垒高一尺。", "Half it is. And I will raise the bank by a foot."),
    (0, "那我就没有意见了。", "Then I am content."),
    (1, "都是邻居。请调解员给我们做个见证。", "We are neighbours. Let the mediator be our witness."),
]


def speak(text, voice):
    """Mono samples at RATE."""
    variant, pitch, speed, tone = voice
    if not shutil.which("espeak-ng"):
        return hum(text, tone)
    command = ["espeak-ng", "-v", variant, "-p", str(pitch), "-s", str(speed), "-a", "90", "--stdout", "--", text]
    spoken = subprocess.run(command, check=True, capture_output=True).stdout
    # The header of a stream gives no length, so what lies behind "data" is taken.
    at = spoken.index(b"data") + 8
    rate = struct.unpack_from("<I", spoken, 24)[0]
    samples = array.array("h", spoken[at : at + (len(spoken) - at) // 2 * 2])
    out = array.array("h", bytes(2 * (len(samples) * RATE // rate)))
    for index in range(len(out)):
        place = index * rate / RATE
        low = int(place)
        high = min(low + 1, len(samples) - 1)
        out[index] = int(samples[low] + (samples[high] - samples[low]) * (place - low))
    return out


def hum(text, tone):
    """A syllable a character: a tone with overtones that rises and falls."""
    out = array.array("h")
    phase = 0.0
    for number, character in enumerate(text):
        length = RATE * (22 if character.isalnum() else 30) // 100
        for index in range(length):
            part = index / length
            phase += 2 * math.pi * tone * (1 + 0.15 * math.sin(number + 2 * part)) / RATE
            loud = math.sin(math.pi * part) ** 0.5 if character.isalnum() else 0.0
            sound = math.sin(phase) + 0.5 * math.sin(2 * phase) + 0.25 * math.sin(5 * phase)
            out.append(int(6_000 * loud * sound))
    return out


def dialogue():
    """Of each robot its sound and, frame by frame, how loud it is and what it says."""
    spoken = [(who, text, english, speak(text, ROBOTS[who]["voice"])) for who, text, english in LINES]
    pause = array.array("h", bytes(2 * int(PAUSE_S * RATE)))
    sound = [array.array("h") for _ in ROBOTS]
    said = []
    for who, text, english, samples in spoken:
        begin = len(sound[0])
        for robot, track in enumerate(sound):
            track.extend(samples if robot == who else array.array("h", bytes(2 * len(samples))))
            track.extend(pause)
        said.append((who, text, english, begin / RATE, (begin + len(samples)) / RATE))
    # A whole number of seconds: of keyframes, of frames and of Opus' 20 ms.
    missing = -len(sound[0]) % RATE
    for track in sound:
        track.extend(array.array("h", bytes(2 * missing)))
    return sound, said


def loudness(samples, frame):
    part = samples[frame * FRAME : (frame + 1) * FRAME : 8]
    power = math.sqrt(sum(sample * sample for sample in part) / max(len(part), 1))
    return min(1.0, power / 6_000)


class Painter:
    def __init__(self, robot, name):
        self.robot = robot
        self.surface = cairo.ImageSurface(cairo.FORMAT_RGB24, WIDTH, HEIGHT)
        self.still = cairo.ImageSurface(cairo.FORMAT_RGB24, WIDTH, HEIGHT)
        self.fonts = {size: Pango.FontDescription.from_string(f"{FACE} {size}") for size in (11, 13, 15, 18)}
        self.draw_still(cairo.Context(self.still), name)

    def text(self, context, text, size, colour, x, y, align=0.0):
        layout = PangoCairo.create_layout(context)
        layout.set_font_description(self.fonts[size])
        layout.set_text(text, -1)
        width, height = layout.get_pixel_size()
        context.move_to(x - align * width, y)
        context.set_source_rgb(*colour)
        PangoCairo.show_layout(context, layout)
        return width, height

    def draw_still(self, context, name):
        robot = self.robot
        wall = cairo.LinearGradient(0, 0, 0, HEIGHT)
        wall.add_color_stop_rgb(0, *robot["wall"][0])
        wall.add_color_stop_rgb(1, *robot["wall"][1])
        context.set_source(wall)
        context.paint()
        context.save()
        context.translate(0, -20)
        ellipse(context, robot["coat"], 320, 392, 150, 125)
        ellipse(context, tuple(part * 0.93 for part in robot["skin"]), 320, 262, 34, 40)
        ellipse(context, robot["hair"], 320, 138, 80, 84)
        ellipse(context, robot["skin"], 243, 168, 12, 18)
        ellipse(context, robot["skin"], 397, 168, 12, 18)
        ellipse(context, robot["skin"], 320, 165, 74, 88)
        context.set_source_rgb(*robot["hair"])
        context.arc(320, 118, 62, math.pi * 1.05, math.pi * 1.95)
        context.close_path()
        context.fill()
        ellipse(context, tuple(part * 0.88 for part in robot["skin"]), 320, 187, 9, 12)
        context.restore()
        width, _ = self.text(context, name, 13, robot["wall"][0], 0, 0)
        context.set_source_rgba(0.10, 0.13, 0.14, 0.86)
        context.rectangle(12, TOP, width + 20, 32)
        context.rectangle(WIDTH - 104, TOP, 92, 32)
        context.fill()
        self.text(context, name, 13, (1, 1, 1), 22, TOP + 3)

    def frame(self, number, frames, level, line):
        context = cairo.Context(self.surface)
        context.set_source_surface(self.still)
        context.paint()
        context.save()
        context.translate(0, -20)
        blinks = number % 52 < 2
        for x in (291, 349):
            ellipse(context, (0.99, 0.99, 0.98), x, 158, 13, 1.5 if blinks else 8.5)
            if not blinks:
                ellipse(context, (0.20, 0.15, 0.12), x, 159, 5.5, 6.5)
        if self.robot["glasses"]:
            context.set_source_rgb(0.25, 0.25, 0.28)
            context.set_line_width(2.5)
            for x in (291, 349):
                context.arc(x, 158, 20, 0, 2 * math.pi)
                context.stroke()
            context.move_to(311, 156)
            context.line_to(329, 156)
            context.stroke()
        ellipse(context, (0.62, 0.30, 0.28), 320, 215, 21 - 4 * level, 3 + 15 * level)
        if level > 0.15:
            ellipse(context, (0.34, 0.11, 0.12), 320, 215, 15 - 3 * level, 1 + 10 * level)
        context.restore()
        seconds = number // FPS
        clock = f"{seconds // 60:02}:{seconds % 60:02}.{number % FPS * 10 // FPS}"
        self.text(context, clock, 13, (1, 1, 1), WIDTH - 22, TOP + 3, align=1.0)
        # How far the tape has run, and how loud it is.
        context.set_source_rgb(0.25, 0.55, 0.42)
        context.rectangle(WIDTH - 104, TOP + 32, 92 * number / frames, 4)
        context.rectangle(WIDTH - 30, 226 - 140 * level, 10, 140 * level)
        context.fill()
        if line:
            context.set_source_rgba(0.08, 0.10, 0.11, 0.82)
            context.rectangle(0, FOOT - 62, WIDTH, 62)
            context.fill()
            self.text(context, line[0], 15, (1, 1, 1), WIDTH / 2, FOOT - 60, align=0.5)
            self.text(context, line[1], 11, (0.82, 0.86, 0.85), WIDTH / 2, FOOT - 27, align=0.5)
        self.surface.flush()
        return bytes(self.surface.get_data())


def ellipse(context, colour, x, y, width, height):
    context.save()
    context.translate(x, y)
    context.scale(width, height)
    context.arc(0, 0, 1, 0, 2 * math.pi)
    context.restore()
    context.set_source_rgb(*colour)
    context.fill()


def encode(description, buffers):
    """Payloads as `(seconds, marker, payload)`. `buffers` gives bytes with their beginning and length in ns."""
    pipeline = Gst.parse_launch(f"appsrc name=in format=time ! {description} ! appsink name=out sync=false")
    source, sink = pipeline.get_by_name("in"), pipeline.get_by_name("out")
    source.set_property("block", True)
    source.set_property("max-bytes", 4 * WIDTH * HEIGHT * 8)
    pipeline.set_state(Gst.State.PLAYING)
    packets = []

    def drain(wait_ns):
        while sample := sink.try_pull_sample(wait_ns):
            buffer = sample.get_buffer()
            packet = buffer.extract_dup(0, buffer.get_size())
            header = 12 + 4 * (packet[0] & 0x0F)
            at = sample.get_segment().to_running_time(Gst.Format.TIME, buffer.pts)
            packets.append((at, packet[1] >> 7, packet[header:]))

    for data, begin, length in buffers:
        buffer = Gst.Buffer.new_wrapped(data)
        buffer.pts, buffer.duration = begin, length
        if source.emit("push-buffer", buffer) != Gst.FlowReturn.OK:
            break
        drain(0)
    source.emit("end-of-stream")
    while not sink.is_eos():
        drain(Gst.SECOND // 10)
        problem = pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
        if problem:
            sys.exit(f"robots.py: {problem.parse_error()[0].message}")
    pipeline.set_state(Gst.State.NULL)
    return packets


def record(path, index, name, sound, said):
    frames = len(sound) // FRAME
    painter = Painter(ROBOTS[index], name)

    def pictures():
        for number in range(frames):
            now = number / FPS
            line = next((words for who, *words, begin, end in said if who == index and begin <= now < end), None)
            picture = painter.frame(number, frames, loudness(sound, number), line)
            yield picture, number * Gst.SECOND // FPS, Gst.SECOND // FPS

    def sounds():
        length = RATE // 50
        for number in range(len(sound) // length):
            data = sound[number * length : (number + 1) * length].tobytes()
            yield data, number * Gst.SECOND // 50, Gst.SECOND // 50

    video = encode(
        f"video/x-raw,format=BGRx,width={WIDTH},height={HEIGHT},framerate={FPS}/1 ! videoconvert"
        " ! video/x-raw,format=I420 ! x264enc tune=zerolatency speed-preset=veryfast bitrate=350"
        f" key-int-max={FPS} threads=1 aud=false option-string=scenecut=0"
        " ! video/x-h264,profile=constrained-baseline,stream-format=avc"
        f" ! rtph264pay pt=102 mtu={PAYLOAD_MAX + 12} config-interval=-1 aggregate-mode=none",
        pictures(),
    )
    audio = encode(
        f"audio/x-raw,format=S16LE,rate={RATE},channels=1,layout=interleaved ! audioconvert"
        " ! opusenc bitrate=28000 audio-type=voice frame-size=20 ! rtpopuspay pt=111",
        sounds(),
    )
    length_ns = frames * Gst.SECOND // FPS
    records = [(at, VIDEO, marker, payload, 90_000) for at, marker, payload in video]
    # Counted anew, since the encoder's stamps begin ahead of the sound and its last packet lies behind the end: round
    # after round there is one packet every 20 ms. Talkspurts have no marker here.
    audio = audio[: length_ns * 50 // Gst.SECOND]
    records += [(number * Gst.SECOND // 50, AUDIO, 0, payload, RATE) for number, (_, _, payload) in enumerate(audio)]
    records.sort(key=lambda entry: entry[0])
    with open(path + ".new", "wb") as out:
        out.write(MAGIC + struct.pack(">I", length_ns // 1_000_000))
        for at, track, marker, payload, rate in records:
            ticks = (at * rate + Gst.SECOND // 2) // Gst.SECOND
            out.write(struct.pack(">BBIH", track, marker, ticks, len(payload)) + payload)
    os.replace(path + ".new", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", action="append", required=True, help="in the picture of each robot; twice")
    parser.add_argument("tape", nargs=len(ROBOTS), help="where to write the tapes")
    options = parser.parse_args()
    if len(options.name) != len(ROBOTS):
        parser.error("give --name twice")
    Gst.init(None)
    sound, said = dialogue()
    for index, path in enumerate(options.tape):
        record(path, index, options.name[index], sound[index], said)
    print("ready", flush=True)


if __name__ == "__main__":
    main()
