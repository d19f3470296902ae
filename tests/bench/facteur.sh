#!/bin/bash
# Facteur set up for the load scripts, beside the peers of peers.sh.
#
#   facteur.sh start DIR BIN [BASE]   BIN: folder of the binaries (target/release); ports BASE+525, +143, … (default 3000)
#   facteur.sh stop DIR
#   facteur.sh pids DIR
#
# Environment: FACTEUR_EXTRA   lines appended to DIR/etc/conf.d/bench.toml
# Users and passwords as in peers.sh; mail lies in DIR/mail/example.test/USER/Maildir and belongs to user 5000 as at the peers: run as root,
# the servers are started as that user.
set -eu
cmd=${1:?command}; DIR=$(realpath -m "${2:?DIR}")

# Passwords are stored as ours are by default (ARGON2ID), also those of crypt0..crypt9.
users() { for i in $(seq 0 99); do echo "user$i"; done; for i in $(seq 0 9); do echo "crypt$i"; done; for i in $(seq 0 11); do echo "big$i"; done; echo big; }

case $cmd in
  start)
    BIN=$(realpath "${3:?BIN}"); BASE=${4:-3000}
    mkdir -p "$DIR/etc/conf.d"
    cat >"$DIR/etc/conf.d/bench.toml" <<CF
[smtpd]
mynetworks = ["127.0.0.0/8"]
smtpd_client_connection_count_limit = 0
[routing]
transport_maps = ["inline:{relay.test=smtp:[127.0.0.1]:2626, down.test=smtp:[127.0.0.1]:2699}"]
[imapd]
disable_plaintext_auth = false
mail_max_userip_connections = 0
[pop3d]
disable_plaintext_auth = false
[log]
file = "../../facteur.log"
${FACTEUR_EXTRA:-}
CF
    as=(); [ "$(id -u)" = 0 ] && { chown -R 5000:5000 "$DIR"; as=(setpriv --reuid 5000 --regid 5000 --clear-groups); }
    args=(); for u in $(users); do args+=(--user "$u@example.test:secret"); done
    "${as[@]}" "$BIN/facteur" up --root "$DIR" --port-base "$BASE" "${args[@]}" >"$DIR/ready" 2>"$DIR/err" &
    echo $! >"$DIR/pid"
    for _ in $(seq 1200); do
      grep -q '^ready$' "$DIR/ready" && break
      kill -0 "$(cat "$DIR/pid")" 2>/dev/null || { cat "$DIR/err" >&2; exit 1; }
      sleep 0.1
    done
    # Every user's Maildir is there before the first measured message, as at the peer.
    cat "$DIR/pid" ;;
  stop)
    pid=$(cat "$DIR/pid"); kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done ;;
  pids) cat "$DIR/pid" ;;
  *) echo "facteur.sh start|stop|pids DIR" >&2; exit 2 ;;
esac
