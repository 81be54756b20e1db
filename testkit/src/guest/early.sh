#!/bin/busybox sh
# The guest's first process, in the kernel's own initial file system: finds the root file system
# and hands over. It never stays there, since pivot_root(2) fails in it.
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
modprobe virtio_pci
modprobe virtio_blk

# The disk with this serial number.
disk() { for d in /sys/block/vd*; do [ "$(cat "$d/serial")" = "$1" ] && echo "/dev/${d##*/}"; done; }

root=$(disk tare-root)
if [ -n "$root" ]; then
    modprobe ext4
    mount -t ext4 -o noatime "$root" /new || { echo "@@BROKEN no root file system"; poweroff -f; }
    mkdir -p /new/lib/modules
    mount -t tmpfs -o mode=755 modules /new/lib/modules
    cp -a /lib/modules/. /new/lib/modules/
    cp /usr/sbin/guest-init /usr/sbin/guest-job /new/usr/sbin/
    [ -e /new/bin/busybox ] || cp /bin/busybox /new/bin/busybox
else
    mount -t tmpfs -o mode=755,size=75% root /new
    cp -a /bin /sbin /lib /usr /etc /root /new/
    mkdir -p /new/proc /new/sys /new/dev /new/tmp /new/run /new/mnt /new/var
fi
mkdir -p /new/guest
mount --move /proc /new/proc
mount --move /sys /new/sys
mount --move /dev /new/dev
case " $(cat /new/proc/cmdline) " in
    *" tare.init=systemd "*) exec switch_root /new /sbin/init ;;
    *) exec switch_root /new /usr/sbin/guest-init ;;
esac
