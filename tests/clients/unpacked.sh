#!/bin/sh
# Runs a program of a package that lies unpacked: unpacked.sh PACKAGE OWN PROGRAM [ARGUMENT...]
#
# To be started as `unshare --mount --pid --fork --kill-child --mount-proc unpacked.sh …`, as root. The program sees this machine with
# the package in /usr, with the files of OWN/etc in /etc, and with nothing but its own in /run, /var/lib, /var/spool and /var/cache; the machine
# itself does not change. It is the init of its namespace: all that it starts ends with it.
set -eu
package=$1 own=$2
shift 2
mount --make-rprivate /
mount -t overlay -o "ro,lowerdir=$package/usr:/usr" unpacked /usr
mount -t overlay -o "ro,lowerdir=$own/etc:/etc" unpacked /etc
for folder in run var/lib var/spool var/cache; do mount --bind "$own/$folder" "/$folder"; done
exec "$@"
