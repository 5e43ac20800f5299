#!/usr/bin/python3
"""RTSP camera simulator: loops H.264 MP4 files as live streams, without re-encoding.
Needs the Debian/Ubuntu packages python3-gi gir1.2-gst-rtsp-server-1.0. Prints {"port": N}
once it listens; ends on SIGTERM. Fault times count from a mount's first client (its media is
made anew when the last client has left); --close-after counts from each connection's PLAY."""
import argparse, heapq, itertools, json, signal, sys, threading, time
import gi
for ns in ("Gst", "GstApp", "GstRtsp", "GstRtspServer"):
    gi.require_version(ns, "1.0")
from gi.repository import GLib, Gst, GstApp, GstRtsp, GstRtspServer as Rtsp  # noqa: E402
NS, LOWER, UDP_PORTS = Gst.SECOND, GstRtsp.RTSPLowerTrans, (40000, 48999)

def log(*words):
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)

class Clip:
    """All access units of an MP4 file, in memory, in decoding order (AVC form)."""
    def __init__(self, path):
        pipe = Gst.parse_launch("filesrc name=src ! qtdemux name=d d.video_0 ! queue ! h264parse ! "
                                "video/x-h264,stream-format=avc,alignment=au ! "
                                "appsink name=out sync=false max-buffers=64")
        pipe.get_by_name("src").set_property("location", path)
        out, bus, error = pipe.get_by_name("out"), pipe.get_bus(), None
        pipe.set_state(Gst.State.PLAYING)
        self.units, self.caps = [], None  # units: [send time, PTS, has an IDR slice, buffer]
        while not error:
            if sample := out.emit("try-pull-sample", NS // 5):
                self.caps, buf = self.caps or sample.get_caps(), sample.get_buffer()
                self.units.append([None, buf.pts, self.has_idr(buf), buf])
            elif out.get_property("eos"):
                break
            else:
                error = bus.pop_filtered(Gst.MessageType.ERROR)
        pipe.set_state(Gst.State.NULL)
        if error or len(self.units) < 2 or not self.units[0][2]:
            raise SystemExit(f"{path}: not a readable H.264 MP4 that starts with an IDR frame")
        # Frame i in decoding order goes out at the i-th smallest PTS: the file's own DTS
        # won't do, as a demuxer clamps or leaves out a DTS below zero.
        shown = sorted(u[1] for u in self.units)
        steps = sorted(b - a for a, b in zip(shown, shown[1:]))
        self.frame = steps[len(steps) // 2]
        self.length = shown[-1] - shown[0] + self.frame
        delay = max(t - u[1] for t, u in zip(shown, self.units))  # reordering: PTS >= DTS
        for t, u in zip(shown, self.units):
            u[0], u[1] = t - shown[0], u[1] - shown[0] + delay

    @staticmethod
    def has_idr(buf):
        data, at, found = buf.extract_dup(0, buf.get_size()), 0, False
        while at + 5 <= len(data):  # AVC: a 4-byte length before each NAL unit
            found |= data[at + 4] & 0x1F == 5
            at += 4 + int.from_bytes(data[at:at + 4], "big")
        return found

class Feed:
    """Pushes one mount's access units into the appsrc of one RTSPMedia."""
    def __init__(self, mount, clip, args, appsrc):
        self.mount, self.clip, self.args, self.appsrc = mount, clip, args, appsrc
        self.alive, self.number, self.loop, self.base = True, 0, 0, None
        self.started = self.due = time.monotonic()
        self.shift = clip.units[self.number][0]

    def push(self):
        """Sends the unit that is due and sets when the next one is."""
        now, args = time.monotonic(), self.args
        if self.base is None:
            # Not before PLAYING: the clock is set a little before the base time, and
            # timestamps made between the two are wrong by the machine's uptime.
            if self.appsrc.get_state(0).state != Gst.State.PLAYING:
                self.due, self.alive = now + 0.01, now - self.started < 60
                return
            self.base = self.appsrc.get_clock().get_time() - self.appsrc.get_base_time()
            self.started = now
        age = now - self.started
        if args.hang_after is not None and age >= args.hang_after:
            self.alive = False
            return log(self.mount, "hangs now")
        dts, pts, idr, template = self.clip.units[self.number]
        if not (idr and args.no_keyframe is not None and age >= args.no_keyframe):
            zero = self.base + self.loop * self.clip.length - self.shift
            buf = template.copy()  # shares the memory
            buf.pts, buf.dts, buf.duration = zero + pts, zero + dts, self.clip.frame
            self.alive &= self.appsrc.emit("push-buffer", buf) == Gst.FlowReturn.OK
        self.loop, self.number = (self.loop, self.number + 1) if self.number + 1 < len(
            self.clip.units) else (self.loop + 1, 0)
        self.due = self.started + (self.loop * self.clip.length - self.shift
                                   + self.clip.units[self.number][0]) / NS

class Feeder(threading.Thread):
    """One thread paces all feeds."""
    def __init__(self):
        super().__init__(daemon=True)
        self.heap, self.ids, self.cond = [], itertools.count(), threading.Condition()

    def add(self, feed):
        with self.cond:
            heapq.heappush(self.heap, (feed.due, next(self.ids), feed))
            self.cond.notify()

    def run(self):
        while True:
            with self.cond:
                while not self.heap or self.heap[0][0] > time.monotonic():
                    self.cond.wait(max(0, self.heap[0][0] - time.monotonic()) if self.heap else None)
                feed = heapq.heappop(self.heap)[2]
            if feed.alive:
                feed.push()
                self.add(feed)

def serve(args):
    feeder, clips, server = Feeder(), {}, Rtsp.RTSPServer.new()
    feeder.start()
    server.set_address(args.host)
    server.set_service(str(args.port))
    if args.user is not None:
        auth, token, perms = Rtsp.RTSPAuth.new(), Rtsp.RTSPToken.new(), Rtsp.RTSPPermissions.new()
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        token.set_string("media.factory.role", "user")
        auth.add_digest(args.user, args.password or "", token)
        server.set_auth(auth)
        for verb in ("access", "construct"):
            perms.add_permission_for_role("user", "media.factory." + verb, True)

    def on_media(factory, media, path):
        media.set_rate_control(False)  # sinks don't sync: the feeder paces, in decoding order
        src = media.get_element().get_by_name("src")
        for key, value in {"caps": clips[path].caps, "format": Gst.Format.TIME, "is-live": True,
                           "max-bytes": 0, "max-buffers": 50,  # a wait for PLAY drops the oldest
                           "leaky-type": GstApp.AppLeakyType.DOWNSTREAM}.items():
            src.set_property(key, value)
        feed = Feed(path, clips[path], args, src)
        media.connect("unprepared", lambda m: (setattr(feed, "alive", False), log(path, "media ends")))
        log(path, "media starts")
        feeder.add(feed)

    def on_client(_server, client):
        log("client connected")
        client.connect("closed", lambda c: log("client closed"))
        if args.close_after is not None:
            client.connect("play-request", lambda c, _ctx: GLib.timeout_add(
                int(args.close_after * 1000), lambda: (c.close(), False)[1]) and None)

    for path, file in args.mount:
        clips[path] = clips[file] = clips.get(file) or Clip(file)
        factory = Rtsp.RTSPMediaFactory.new()  # config-interval=-1: SPS, PPS before each IDR
        factory.set_launch("( appsrc name=src ! rtph264pay name=pay0 pt=96 config-interval=-1 )")
        factory.set_shared(True)
        factory.set_protocols({"tcp": LOWER.TCP, "udp": LOWER.UDP}.get(
            args.transport, LOWER.TCP | LOWER.UDP))
        pool = Rtsp.RTSPAddressPool.new()  # else its UDP sockets are on all interfaces
        pool.add_range(args.host, args.host, *UDP_PORTS, 0)
        factory.set_address_pool(pool)
        if args.user is not None:
            factory.set_permissions(perms)
        factory.connect("media-configure", on_media, path)
        server.get_mount_points().add_factory(path, factory)
    server.connect("client-connected", on_client)
    if not server.attach(None):
        raise SystemExit(f"cannot listen on {args.host}:{args.port}")
    GLib.timeout_add_seconds(1, lambda: (server.get_session_pool().cleanup(), True)[1])
    return server

def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--mount", type=lambda s: s.split("=", 1), action="append", required=True,
                   metavar="/PATH=FILE.mp4")
    p.add_argument("--user")
    p.add_argument("--password")
    p.add_argument("--transport", choices=("any", "tcp", "udp"), default="any")
    p.add_argument("--no-keyframe", type=float, metavar="S", help="drop IDR frames after S s")
    p.add_argument("--hang-after", type=float, metavar="S", help="no more video after S s")
    p.add_argument("--close-after", type=float, metavar="S", help="close S s after PLAY")
    args = p.parse_args()
    Gst.init(None)
    loop, server = GLib.MainLoop(), serve(args)
    for number in (signal.SIGTERM, signal.SIGINT):
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, number, loop.quit)
    print(json.dumps({"port": server.get_bound_port()}), flush=True)
    loop.run()

if __name__ == "__main__":
    main()
