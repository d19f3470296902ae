#!/bin/bash
# Facteur beside Postfix and Dovecot, in one interleaved run. As root (the peers change uid). Driven by `cargo xtask bench`.
#
#   run.sh BIN [smtp|idle|imap]... [-- options of smtp_load.py]
#
# Environment: BENCH_DIR   folder for queues and mail (default: a new one below /var/tmp; put a journaled ext4 there)
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
BIN=$(realpath "${1:?folder of the binaries}"); shift
what=(); while [ $# -gt 0 ] && [ "$1" != -- ]; do what+=("$1"); shift; done
[ "${1:-}" = -- ] && shift
[ ${#what[@]} -gt 0 ] || what=(smtp idle)
DIR=${BENCH_DIR:-$(mktemp -d /var/tmp/facteur-bench.XXXXXX)}
chmod 755 "$DIR"
cleanup() { "$HERE/facteur.sh" stop "$DIR/f" || true; "$HERE/peers.sh" stop "$DIR/p" || true; }
trap cleanup EXIT
ours=$("$HERE/facteur.sh" start "$DIR/f" "$BIN" 3000)
IFS=, read -r postfix dovecot < <("$HERE/peers.sh" start "$DIR/p" virtual)
for w in "${what[@]}"; do
  case $w in
    smtp) "$HERE/smtp_load.py" deliver --target "postfix,2525,$DIR/p/vmail/example.test,$postfix" \
            --target "facteur,3525,$DIR/f/mail/example.test,$ours" --scratch "$DIR" "$@" ;;
    idle) "$HERE/imap_ops.py" idle --target "dovecot,2143,2110,$DIR/p/vmail/example.test,$dovecot" \
            --target "facteur,3143,3110,$DIR/f/mail/example.test,$ours" "$@" ;;
    imap) "$HERE/imap_ops.py" ops --messages 10000 --target "dovecot,2143,2110,$DIR/p/vmail/example.test,$dovecot" \
            --target "facteur,3143,3110,$DIR/f/mail/example.test,$ours" "$@" ;;
    *) echo "unknown: $w" >&2; exit 2 ;;
  esac
done
echo "left in place: $DIR"
