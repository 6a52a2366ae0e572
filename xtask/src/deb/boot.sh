# Becomes systemd, in namespaces of its own. $1 is an empty folder.
set -eu
room=$1
mkdir "$room/layer"
mount -t tmpfs layer "$room/layer"
mkdir "$room/layer/up" "$room/layer/work" "$room/layer/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$room/layer/up,workdir=$room/layer/work" "$room/layer/root"
cd "$room/layer/root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs run run
mkdir -p run/systemd/system run/layer
mount --bind "$room/layer" run/layer
mount -t tmpfs tmp tmp
mount --rbind /dev dev
ip link set lo up
# Images of containers forbid packages to start services; a host does not.
rm -f usr/sbin/policy-rc.d
# Nothing of the machine's own services is started: this target wants nothing.
printf '[Unit]\nDescription=Nothing else\n' > run/systemd/system/nothing-else.target
exec env -i container=other PATH=/usr/bin:/usr/sbin:/bin:/sbin \
    chroot . /lib/systemd/systemd --system --unit=nothing-else.target --log-target=console --show-status=no
