#!/bin/bash
# Facteur beside Postfix and Dovecot, in one interleaved run. As root (the peers change uid). Driven by `cargo xtask bench`.
#
#   run.sh BIN [smtp|relay|rcpts|smtp-idle|queue|idle|imap|login|pop3|auth]... [-- options of smtp_load.py, of imap_ops.py for idle and imap]
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
smtp() { "$HERE/smtp_load.py" "$@" --target "postfix,2525,$DIR/p/vmail/example.test,$postfix" \
           --target "facteur,3525,$DIR/f/mail/example.test,$ours" --scratch "$DIR"; }
# Mail to what does not exist stays in a queue, so each server is asked for its own.
queue() { "$HERE/smtp_load.py" queue --target "$1" --queue-cmd "$2" --scratch "$DIR" "${@:3}"; }
imap() { "$HERE/imap_ops.py" "$@" --scratch "$DIR" --target "dovecot,2143,2110,$DIR/p/vmail/example.test,$dovecot" \
           --target "facteur,3143,3110,$DIR/f/mail/example.test,$ours"; }
for w in "${what[@]}"; do
  case $w in
    smtp) smtp deliver "$@" ;;
    relay) smtp relay "$@" ;;
    rcpts) smtp deliver --rcpts 50 "$@" ;;
    smtp-idle) smtp idle --sessions 500 "$@" ;;
    queue) queue "postfix,2525,-,$postfix" "postqueue -c $DIR/p/postfix/etc -p" "$@"
           queue "facteur,3525,-,$ours" "$BIN/facteur --root $DIR/f queue list" "$@" ;;
    idle|login|pop3) imap "$w" "$@" ;;
    auth) "$HERE/auth_load.py" "$@" --target "dovecot,$DIR/p/postfix/queue/private/auth,$dovecot" --target "facteur,$DIR/f/run/auth,$ours" ;;
    imap) imap ops --messages 10000 "$@" ;;
    *) echo "unknown: $w" >&2; exit 2 ;;
  esac
done
echo "left in place: $DIR"
