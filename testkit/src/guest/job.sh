#!/bin/sh
# Unpacks the disk "in" to /guest/in, runs the command there, packs /guest/out onto the disk
# "out", says the exit code on the serial line, and switches the machine off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root TARE_GUEST=1

exec </dev/null >/dev/console 2>&1
disk() { for d in /sys/block/vd*; do [ "$(cat "$d/serial")" = "$1" ] && echo "/dev/${d##*/}"; done; }
seconds() { read -r up _ </proc/uptime; echo "$up"; }

mount -t tmpfs -o mode=755,size=75% guest /guest
mkdir /guest/in /guest/out
chmod 1777 /guest/out
tar xf "$(disk tare-in)" -C /guest/in
ulimit -n 1048576
cd /guest/in
echo "@@READY $(seconds)"
./command
code=$?
tar cf "$(disk tare-out)" -C /guest/out .
sync
echo "@@EXIT rc=$code $(seconds)"
poweroff -f
