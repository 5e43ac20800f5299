"""An end of a MAVLink link made with pymavlink, as an independent witness of what Picket sends and takes.

    peer.py URL SYSID COMPID [KEY]

URL as pymavlink has it (udpin:, udpout:, tcp:, tcpin:, or a device). Sends a HEARTBEAT a second, of a ground station where
COMPID is 190, of a rover's autopilot otherwise. Each line of standard input is a message to send, {"name": "COMMAND_LONG",
"fields": {...}}, or {"heartbeat": {...}} with fields for the heartbeats from then on. Each message that comes is a line of
standard output, with its sender. With a KEY of 64 hexadecimal digits it signs, and takes nothing unsigned.
"""

import json
import os
import sys
import threading
import time

os.environ["MAVLINK20"] = "1"

from pymavlink import mavutil  # noqa: E402


def main():
    url, sysid, compid = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    link = mavutil.mavlink_connection(
        url, baud=57600, source_system=sysid, source_component=compid, dialect="ardupilotmega"
    )
    if len(sys.argv) > 4:
        # pymavlink shows what it cannot verify as BAD_DATA.
        link.setup_signing(bytes.fromhex(sys.argv[4]), sign_outgoing=True)
    station = compid == 190
    beat = {"type": 6, "autopilot": 8, "base_mode": 0, "custom_mode": 0, "system_status": 4}
    if not station:
        beat = {"type": 10, "autopilot": 3, "base_mode": 129, "custom_mode": 10, "system_status": 4}
    lock = threading.Lock()

    def send(name, fields):
        with lock:
            getattr(link.mav, name.lower() + "_send")(**fields)

    def commands():
        for line in sys.stdin:
            told = json.loads(line)
            if "heartbeat" in told:
                beat.update(told["heartbeat"])
                send("heartbeat", beat)
            else:
                fields = {name: value.encode() if isinstance(value, str) else value for name, value in told["fields"].items()}
                send(told["name"], fields)
        os._exit(0)

    def beats():
        while True:
            send("heartbeat", beat)
            time.sleep(1)

    threading.Thread(target=commands, daemon=True).start()
    threading.Thread(target=beats, daemon=True).start()
    while True:
        message = link.recv_match(blocking=True, timeout=0.5)
        if message is None:
            continue
        line = message.to_dict()
        line["sysid"], line["compid"], line["signed"] = (
            message.get_srcSystem(),
            message.get_srcComponent(),
            message.get_signed(),
        )
        line.pop("data", None)
        print(json.dumps(line, default=str), flush=True)


main()
