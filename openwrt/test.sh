#!/usr/bin/env bash
# The init script under a stand-in for rc.common and procd, the scripts of the package, and the layout of the packages.
# Needs busybox (its sh is a router's) and python3, no root. Ends with `openwrt: N passed`.
#
# openwrt/procd-model.sh stands in for procd: it keeps a service with its triggers, and writes down what happens. With real
# programs at hand, apk reads the package too.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
diary=$work/diary

mkdir -p "$work/bin" "$work/etc/rc.d"
cat >"$work/bin/bramble" <<'BRAMBLE'
#!/bin/sh
echo "bramble $*" >>"$DIARY"
[ "$REFUSES" != 1 ] || { echo "it will not" >&2; exit 1; }
BRAMBLE
chmod +x "$work"/bin/*

# What the router has, as far as the init script uses it. Settings come from the environment.
cat >"$work/rc.common" <<'STUB'
. openwrt/procd-model.sh
logger() { say logger "$@"; }
extra_command() { EXTRA="$EXTRA $1"; }
uci_load_validate() {
	local enabled=$ENABLED network=$NETWORKS
	"$4" "$3" "$INVALID"
}
config_load() { :; }
config_get_bool() {
	case $2.$3 in
	ldap.enabled) eval "$1=\${LDAP:-$4}" ;;
	*.screens) eval "$1=\${SCREENS:-$4}" ;;
	esac
}
config_get() {
	case $2.$3 in
	nfs.port) eval "$1=\${NFS_PORT:-$4}" ;;
	main.network) eval "$1=\$NETWORKS" ;;
	*.name) eval "$1=$2" ;;
	*.input) eval "$1=\$(echo \"\$ZONES\" | sed -n 's/^$2 \([A-Z]*\) .*/\1/p')" ;;
	*.network) eval "$1=\$(echo \"\$ZONES\" | sed -n 's/^$2 [A-Z]* //p')" ;;
	esac
}
config_foreach() {
	case $2 in
	zone) for section in $(echo "$ZONES" | cut -d' ' -f1); do "$1" "$section"; done ;;
	room) "$1" lab ;;
	esac
}
script=$1 action=$2
. "$script"
hook() { if type "$1" >/dev/null 2>&1; then "$1"; fi; }
start() {
	rc_procd start_service
	hook service_started
}
stop() {
	procd_kill
	hook service_stopped
}
reload() { reload_service; }
status() { status_service; }
# The stand-in on the path.
PROG=bramble
$action
procd_settle
STUB

# router: as after the start of a router on which nothing runs yet.
router() {
	rm -rf "$work/procd"
	mkdir "$work/procd"
}

run_init() {
	local action=$1
	shift
	env PATH="$work/bin:$PATH" DIARY="$diary" STATE="$work/procd" ENABLED=1 NETWORKS=lan INVALID=0 ZONES="lan ACCEPT lan" \
		IPKG_INSTROOT="$work" "$@" busybox sh "$work/rc.common" openwrt/files/bramble.init "$action"
}

# init ACTION NAME=VALUE...: runs the script, and then what procd runs for it; what happened is then in the diary.
init() {
	: >"$diary"
	run_init "$@"
	local times=0
	while [ -e "$work/procd/queue" ] && [ $times -lt 3 ]; do
		rm "$work/procd/queue"
		run_init reload "${@:2}"
		times=$((times + 1))
	done
	[ -e "$work/procd/queue" ] || return 0
	echo "$1 makes procd run reload for ever"
	cat "$diary"
	exit 1
}

# happens EVENT NAME VALUE...: what procd then runs. Nothing, if it has no trigger for it.
happens() {
	: >"$diary"
	if grep -qxF -- "$1" "$work/procd/triggers" 2>/dev/null; then init reload "${@:2}"; fi
}

# told LINE...: each stands in the diary. never LINE...: none does.
told() {
	local line
	for line; do grep -qxF -- "$line" "$diary" || { echo "missing: $line"; cat "$diary"; exit 1; }; done
	passed=$((passed + 1))
}
never() {
	local line
	for line; do ! grep -qF -- "$line" "$diary" || { echo "not wanted: $line"; cat "$diary"; exit 1; }; done
	passed=$((passed + 1))
}

router
init start
told "procd_open_instance" "procd_set_param command bramble serve" "procd_set_param file bramble" \
	"procd_set_param respawn 3600 1 0" "daemon started"
never "rule" "takeover" "logger" "fw4 reload"
init service_triggers NETWORKS="lan lab"
told "procd_add_reload_trigger bramble dhcp network system firewall" "procd_add_reload_interface_trigger lan" \
	"procd_add_reload_interface_trigger lab" "procd_add_validation validate_main"
init check
told "bramble check"
init status
told "bramble status"
router
init start INVALID=1
told "procd_open_instance"
grep -q "^logger .*main is not right" "$diary"

# Ports, where the zone is closed. firewall4 hears of them from procd, and of nothing where there are none.
router
init start NETWORKS="lan lab" ZONES=$'lan ACCEPT lan\nclosed REJECT lab other\nwan REJECT wan'
told "string src closed" "string dest_port 67" "string dest_port 2049" "string name Bramble tcp:8467" "fw4 reload"
never "string src lan" "string src wan"
ports() { sed -n 's/^string name Bramble //p' "$diary" | sort | tr '\n' ' '; }
[ "$(ports)" = "tcp:111 tcp:2049 tcp:8467 udp:111 udp:123 udp:2049 udp:4011 udp:6666 udp:67 udp:69 udp:8467 " ] || { ports; exit 1; }
init stop
told "daemon ended" "fw4 reload"
init start NETWORKS=lan LDAP=1 SCREENS=1 NFS_PORT=20490 ZONES='lan REJECT lan'
[ "$(ports)" = "tcp:20490 tcp:389 tcp:5901-5916 tcp:636 tcp:8467 udp:123 udp:20490 udp:4011 udp:6666 udp:67 udp:69 udp:8467 " ] || { ports; exit 1; }

# A reload: the daemon goes on and reads its files, while networks and ports are those of now.
router
init start
happens "config.change bramble"
told "procd_send_signal bramble"
never "daemon started" "daemon ended" "daemon restarted" "fw4 reload"
happens "interface.* lab"
never "procd_send_signal"
happens "config.change bramble" NETWORKS="lan lab"
happens "interface.* lab" NETWORKS="lan lab"
told "procd_send_signal bramble"
happens "config.change firewall" ZONES='lan REJECT lan'
told "string name Bramble udp:67" "fw4 reload" "procd_send_signal bramble"
never "daemon started" "daemon ended" "daemon restarted"
happens "config.change firewall"
told "fw4 reload"
never "rule" "daemon restarted"
# What has just been started needs no signal, and may not know what to do with it yet.
rm "$work/procd/alive"
happens "config.change bramble"
told "daemon started"
never "procd_send_signal"

# Switched off: the daemon ends, what it had is handed back then, and switching on is heard of.
happens "config.change bramble" ENABLED=0
told "daemon told to end" "bramble takeover --hand-back"
[ "$(grep -nxF "daemon told to end" "$diary" | cut -d: -f1)" -lt "$(grep -nxF "bramble takeover --hand-back" "$diary" | cut -d: -f1)" ]
never "procd_send_signal" "daemon started"
happens "config.change bramble" ENABLED=1
told "daemon started"
# At the start of a router too.
router
init start ENABLED=0
told "bramble takeover --hand-back"
never "daemon started"
happens "config.change bramble" ENABLED=1
told "daemon started"
# A hand-back that fails is told.
init reload ENABLED=0 REFUSES=1
grep -q "^logger .*DHCP was not handed back: it will not" "$diary" || { cat "$diary"; exit 1; }

# Stopped by hand, it stays so, though its end takes a while.
for zones in 'lan ACCEPT lan' 'lan REJECT lan'; do
	router
	init start ZONES="$zones"
	init stop ZONES="$zones"
	told "daemon ended"
	never "daemon started"
	happens "config.change bramble" ZONES="$zones"
	never "daemon started"
done

# Off for good: links gone, then stopped, then handed back; in an image that is being built only the links.
router
init start
touch "$work/etc/rc.d/S95bramble" "$work/etc/rc.d/K10bramble" "$work/etc/rc.d/S95other"
init disable
never "daemon" "takeover"
[ "$(ls "$work/etc/rc.d")" = S95other ]
init disable IPKG_INSTROOT=
told "daemon told to end" "bramble takeover --hand-back" "daemon ended"
never "daemon started"

# The package's own script: on removal the router gets its DHCP back, on upgrade nothing happens.
mkdir -p "$work/etc/init.d"
printf '#!/bin/sh\necho "init $*" >>"%s"\n' "$diary" >"$work/etc/init.d/bramble"
chmod +x "$work/etc/init.d/bramble"
sed "s|/etc/init.d|$work/etc/init.d|g" openwrt/files/prerm >"$work/prerm"
prerm() { : >"$diary" && env "$@" busybox sh "$work/prerm"; }
prerm PKG_UPGRADE=0
told "init disable"
prerm PKG_UPGRADE=1
never "init"
prerm IPKG_INSTROOT=/image
never "init"

# Packages of small stand-ins for the programs; of the real ones too where they have been built.
export SOURCE_DATE_EPOCH=1700000000
for name in aarch64/bramble agent-armhf/bramble-agent agent-arm64/bramble-agent; do
	mkdir -p "$work/cross/out/${name%/*}"
	printf 'program %s\n' "$name" >"$work/cross/out/$name"
done
BRAMBLE_CROSS=$work/cross cross/package aarch64 >"$work/first"
(cd "$work/cross/packages" && sha256sum -- * >"$work/sums")
BRAMBLE_CROSS=$work/cross cross/package aarch64 aarch64_generic aarch64_cortex-a53 >"$work/second"
(cd "$work/cross/packages" && sha256sum --quiet -c "$work/sums")
openwrt/check_packages "$work/cross/packages"/* --content usr/bin/bramble "program aarch64/bramble" \
	--content usr/lib/bramble/agent-arm64.xz "program agent-arm64/bramble-agent" \
	--content usr/lib/bramble/agent-armhf.xz "program agent-armhf/bramble-agent"
passed=$((passed + 2))
# The web pages, and a translation read back as LuCI does: by the hash of the original.
BRAMBLE_CROSS=$work/cross cross/package luci-app >"$work/third"
openwrt/check_packages --luci "$work/cross/packages" luci-app/po/*/bramble.po
passed=$((passed + 1))
if command -v apk >/dev/null && apk --version | grep -q '^apk-tools 3'; then
	apk verify --allow-untrusted "$work/cross/packages"/*.apk
	passed=$((passed + 1))
fi
echo "openwrt: $passed passed"
