# Boots systemd in the new namespaces. $1 is an empty folder.
set -eu
scratch=$1
mkdir "$scratch/layer"
mount -t tmpfs layer "$scratch/layer"
mkdir "$scratch/layer/up" "$scratch/layer/work" "$scratch/layer/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/layer/up,workdir=$scratch/layer/work" "$scratch/layer/root"
cd "$scratch/layer/root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs run run
mkdir -p run/systemd/system run/layer
mount --bind "$scratch/layer" run/layer
mount -t tmpfs tmp tmp
mount --rbind /dev dev
ip link set lo up
# Container images forbid packages to start services; a host does not.
rm -f usr/sbin/policy-rc.d
# Boot into a target without dependencies, so that none of the machine's services start.
printf '[Unit]\nDescription=No other units\n' > run/systemd/system/empty.target
exec env -i container=other PATH=/usr/bin:/usr/sbin:/bin:/sbin \
    chroot . /lib/systemd/systemd --system --unit=empty.target --log-target=console --show-status=no
