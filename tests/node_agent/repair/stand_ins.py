"""Shell scripts that stand in for the tools of a GPU host; each writes down how it was called."""

COMMON = """#!/bin/sh
here=$(dirname "$0")
state="$here/../state"
line="$(basename "$0") $*"
echo "$line" >> "$state/log"
crash() {  # kills the daemon that runs this, once, if the stage says so
  if [ "$(cat "$state/crash" 2>/dev/null)" = "$1 $line" ]; then
    rm "$state/crash"
    kill -9 $PPID
    sleep 0.2
  fi
}
fail() {
  if [ -e "$state/fail-$1" ]; then echo "stand-in: $1 fails"; exit 1; fi
}
alive() {  # what was killed stays a zombie until its parent looks
  [ -e "$1" ] && read -r pid < "$1" && grep -qs "^State:[[:space:]]*[RSDTtI]" "/proc/$pid/status"
}
crash before
"""

SYSTEMCTL = """
eval service=\\${$#}
case "$1" in
  show)
    shift 3
    for service in "$@"; do
      echo "Id=$service"
      if [ -e "$state/installed-$service" ]; then echo LoadState=loaded; else echo LoadState=not-found; fi
      if alive "$state/$service.pid"; then
        echo ActiveState=active; echo "MainPID=$pid"
      else
        echo ActiveState=inactive; echo MainPID=0
      fi
      echo
    done ;;
  stop|restart|start)
    fail "$1-$service"
    if [ "$1" != start ] && [ -e "$state/$service.pid" ]; then
      kill -9 "$(cat "$state/$service.pid")" 2>/dev/null
      while alive "$state/$service.pid"; do sleep 0.01; done
      rm -f "$state/$service.pid"
    fi
    if [ "$1" != stop ] && ! alive "$state/$service.pid"; then
      "$here/../hold" "$state/$service.pid"
    fi ;;
  reboot)
    fail reboot ;;
esac
crash after
"""

HOLD = """#!/bin/sh
# A service of its own: the init of the stage is its parent, as systemd would be.
# It has the devices open from its first moment: whoever started it may look at once.
devices="$(dirname "$0")/devices"
unset ORQUANTA_REPAIR
exec 3<"$devices/nvidia0" 4<"$devices/nvidia1"
( setsid sleep 100000 </dev/null >/dev/null 2>&1 & echo $! > "$1" )
"""

NVIDIA_SMI = """
if [ -e "$state/slow-reset" ]; then sleep 1; fi
for pid in "$state"/*.pid; do
  if [ -e "$pid" ]; then echo "GPU is in use by another client"; exit 15; fi
done
fail reset
echo "reset done by the stand-in"
echo reset >> "$state/resets"
crash after
"""

MODPROBE = """
eval module=\\${$#}
fail "modprobe-$module"
if [ "$1" = -r ]; then
  fail "unload-$module"
  sed -i "/^$module /d" "$state/modules"
else
  grep -q "^$module " "$state/modules" || echo "$module 1 0 - Live 0x0" >> "$state/modules"
fi
crash after
"""

BUG_REPORT = """
fail bug-report
echo report > "$2"
"""
