#!/bin/sh
# Starts systemd as the first process of namespaces of its own, over a copy of this machine that is forgotten afterwards, and
# has it run one program. For tests of units where no systemd runs. Must never let anything of the machine's own start.
#
# usage: systemd_box.sh BOX PYTHON_HOME VENV CLONE     as root, from new mount, process, cgroup, host name, IPC and network
# namespaces, with a terminal as standard input. BOX/steps is run inside; what it leaves in BOX stays.
set -eu
box=$1 python=$2 venv=$3 clone=$4
root=$box/copy/root

mount --make-rprivate /
mkdir "$box/copy"
mount -t tmpfs -o size=256m none "$box/copy"
mkdir "$box/copy/changes" "$box/copy/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$box/copy/changes,workdir=$box/copy/work" overlay "$root"

mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for each in run dev; do mount -t tmpfs -o mode=755 none "$root/$each"; done
mkdir "$root/dev/pts" "$root/dev/shm"
for each in null,1,3 zero,1,5 full,1,7 random,1,8 urandom,1,9 tty,5,0 token,189,0 other,189,1; do
    name=${each%%,*} numbers=${each#*,}
    mknod -m 666 "$root/dev/$name" c "${numbers%,*}" "${numbers#*,}"
done
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs -o mode=1777 none "$root/dev/shm"
touch "$root/dev/console"
mount --bind "$(tty)" "$root/dev/console"

# homes are hidden from the unit, so the software lies elsewhere
mkdir -p "$root/usr/lib/keystation/venv" "$root/usr/lib/keystation/clone" "$root/box"
if [ "$python" != /usr ]; then
    mkdir "$root/usr/lib/keystation/python"
    mount --bind "$root$python" "$root/usr/lib/keystation/python"
fi
mount --bind "$root$venv" "$root/usr/lib/keystation/venv"
mount --bind "$root$clone" "$root/usr/lib/keystation/clone"
mount --bind "$box" "$root/box"
mount -t tmpfs -o mode=1777 none "$root/tmp"

# nothing starts but what the steps start
rm -rf "$root"/usr/lib/systemd/system/*.wants "$root"/etc/systemd/system/*.wants "$root"/usr/lib/systemd/system-generators/*
mkdir -p "$root/etc/systemd/system"
cat >"$root/etc/systemd/system/box.service" <<END
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
StandardOutput=append:/box/said
StandardError=append:/box/said
ExecStart=/bin/sh -eu /box/steps
ExecStopPost=/bin/systemctl exit --force --force
END

mkdir "$root/old"
cd "$root"
pivot_root . old
cd /
umount -l /old
mount --make-rshared /
hostname box
exec setpriv --inh-caps=-all \
    --bounding-set=-sys_module,-sys_time,-sys_boot,-sys_rawio,-syslog,-wake_alarm,-audit_control,-audit_read,-mac_admin \
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root container=box \
    /lib/systemd/systemd --system --unit=box.service --log-target=console --show-status=no --default-standard-output=null
