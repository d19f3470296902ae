#!/bin/sh
# Boots a systemd that sees the machine's files but changes none of them: boot.sh XTASK BUILT SCRATCH
#
# To be started as `unshare --mount --net --pid --ipc --uts --cgroup --fork --kill-child --mount-proc boot.sh …`, as root. XTASK is the
# program xtask, BUILT the folder of the built programs, SCRATCH an empty folder. What Facteur's installation writes lies in a tmpfs over
# SCRATCH. Only the units of Facteur and those that every system needs are started.
set -eu
xtask=$1 built=$2 scratch=$3
mount --make-rprivate /
mount -t tmpfs -o mode=755 facteur-boot "$scratch"
for folder in etc var usr home; do
  mkdir "$scratch/$folder" "$scratch/$folder.work"
  mount -t overlay -o "lowerdir=/$folder,upperdir=$scratch/$folder,workdir=$scratch/$folder.work" facteur-boot "/$folder"
done
mount -t tmpfs -o mode=755 run /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
hostname mail.example.test

# An installation of this machine is not looked at, nor anything else that it has.
rm -rf /etc/facteur /var/spool/facteur /var/lib/facteur /home/vmail
for group in vmail facteur-smtp facteur-queue facteur-auth; do sed -i "/^$group:/d" /etc/passwd /etc/group /etc/shadow /etc/gshadow; done
"$xtask" install --prefix /usr --no-build --built "$built"
rm -rf /etc/systemd/system /etc/systemd/network
mkdir -p /etc/systemd/system
systemd-sysusers /usr/lib/sysusers.d/facteur.conf
systemd-tmpfiles --create /usr/lib/tmpfiles.d/facteur.conf
mkdir -p /etc/facteur/tls /etc/facteur/conf.d
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=mail.example.test -keyout /etc/facteur/tls/key.pem -out /etc/facteur/tls/cert.pem 2>/dev/null
chgrp facteur-tls /etc/facteur/tls/key.pem
chmod 640 /etc/facteur/tls/key.pem
cat >/etc/facteur/conf.d/10-site.toml <<END
hostname = "mail.example.test"
[tls]
cert_file = "/etc/facteur/tls/cert.pem"
key_file = "/etc/facteur/tls/key.pem"
END
mkdir /etc/systemd/system/facteur-pop3d.service.d
printf '[Service]\nWatchdogSec=3\n' >/etc/systemd/system/facteur-pop3d.service.d/watchdog.conf
# A cleaner of old files at boot would find the machine's own.
ln -s /dev/null /etc/systemd/system/systemd-tmpfiles-setup.service
ln -s /dev/null /etc/systemd/system/systemd-tmpfiles-clean.timer
ln -s /dev/null /etc/systemd/system/systemd-udevd.service
ln -s /dev/null /etc/systemd/system/systemd-udev-trigger.service
mount -t tmpfs -o mode=1777 tmp /tmp
export container=facteur-test
exec /lib/systemd/systemd --unit=facteur.target --log-target=console --log-level=notice --show-status=no
