#!/usr/bin/env bash
# The init script under a stand-in for rc.common and procd, the scripts of the package, and the layout of the packages.
# Needs busybox (its sh is a router's) and python3, no root. Ends with `openwrt: N passed`.
#
# The stand-in writes down what procd would be told. With real programs at hand, apk reads the package too.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
diary=$work/diary

mkdir -p "$work/bin" "$work/etc/rc.d"
printf '#!/bin/sh\necho "bramble $*" >>"%s"\n' "$diary" >"$work/bin/bramble"
# What /etc/config/bramble says.
cat >"$work/bin/uci" <<'UCI'
#!/bin/sh
echo "$ENABLED"
UCI
chmod +x "$work"/bin/*

# What the router has, as far as the init script uses it. Settings come from the environment.
cat >"$work/rc.common" <<'STUB'
say() { echo "$*" >>"$DIARY"; }
for name in open_instance close_instance set_param append_param open_data close_data set_config_changed send_signal \
	add_reload_trigger add_reload_interface_trigger add_raw_trigger add_validation; do
	eval "procd_$name() { say procd_$name \"\$@\"; }"
done
procd_running() { [ "$RUNNING" = 1 ]; }
json_add_array() { say array "$@"; }
json_close_array() { :; }
json_add_object() { :; }
json_close_object() { say rule; }
json_add_string() { say "string $*"; }
logger() { say logger "$@"; }
extra_command() { EXTRA="$EXTRA $1"; }
uci_load_validate() {
	enabled=$ENABLED network=$NETWORKS
	"$4" "$3" "$INVALID"
}
config_load() { :; }
config_get_bool() { eval "$1=\${LDAP:-$4}"; }
config_get() {
	case $2.$3 in
	nfs.port) eval "$1=\${NFS_PORT:-$4}" ;;
	main.network) eval "$1=\$NETWORKS" ;;
	*.name) eval "$1=$2" ;;
	*.input) eval "$1=\$(echo \"\$ZONES\" | sed -n 's/^$2 \([A-Z]*\) .*/\1/p')" ;;
	*.network) eval "$1=\$(echo \"\$ZONES\" | sed -n 's/^$2 [A-Z]* //p')" ;;
	esac
}
config_foreach() { for section in $(echo "$ZONES" | cut -d' ' -f1); do "$1" "$section"; done; }
script=$1 action=$2
. "$script"
start() { start_service; service_started; }
stop() { say procd_kill; service_stopped; }
reload() { reload_service; }
status() { status_service; }
# The stand-in on the path.
PROG=bramble
$action
STUB

# init ACTION NAME=VALUE...: runs the script; what procd and others were told is then in the diary.
init() {
	local action=$1
	shift
	: >"$diary"
	env PATH="$work/bin:$PATH" DIARY="$diary" ENABLED=1 NETWORKS=lan RUNNING=0 INVALID=0 ZONES="lan ACCEPT lan" \
		IPKG_INSTROOT="$work" "$@" busybox sh "$work/rc.common" openwrt/files/bramble.init "$action"
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

init start
told "procd_open_instance" "procd_set_param command bramble serve" "procd_set_param file bramble" \
	"procd_set_param respawn 3600 1 0" "procd_set_config_changed firewall" "array firewall"
never "rule" "takeover" "logger"
init start NETWORKS="lan lab" ZONES=$'lan ACCEPT lan\nclosed REJECT lab other\nwan REJECT wan'
told "string src closed" "string dest_port 67" "string dest_port 2049" "string name Bramble tcp:8467"
never "string src lan" "string src wan"
ports() { sed -n 's/^string name Bramble //p' "$diary" | sort | tr '\n' ' '; }
[ "$(ports)" = "tcp:111 tcp:2049 tcp:8467 udp:111 udp:123 udp:2049 udp:4011 udp:6666 udp:67 udp:69 udp:8467 " ] || { ports; exit 1; }
init start NETWORKS=lan LDAP=1 NFS_PORT=20490 ZONES='lan REJECT lan'
[ "$(ports)" = "tcp:20490 tcp:389 tcp:636 tcp:8467 udp:123 udp:20490 udp:4011 udp:6666 udp:67 udp:69 udp:8467 " ] || { ports; exit 1; }
init start INVALID=1
told "procd_open_instance"
grep -q "^logger .*main is not right" "$diary"
init start ENABLED=0
told "bramble takeover --hand-back"
never "procd_open_instance"
init reload RUNNING=1
told "procd_send_signal bramble"
never "procd_kill" "procd_open_instance"
init reload RUNNING=0
told "procd_set_param command bramble serve"
init reload RUNNING=1 ENABLED=0
told "procd_kill" "bramble takeover --hand-back"
never "procd_send_signal"
init check
told "bramble check"
init status
told "bramble status"
init service_triggers NETWORKS="lan lab"
told "procd_add_reload_trigger bramble dhcp network system firewall" "procd_add_reload_interface_trigger lan" \
	"procd_add_reload_interface_trigger lab" "procd_add_validation validate_main"

# Off for good: links gone, then stopped, then handed back; in an image that is being built only the links.
touch "$work/etc/rc.d/S95bramble" "$work/etc/rc.d/K10bramble" "$work/etc/rc.d/S95other"
init disable
never "procd_kill" "takeover"
[ "$(ls "$work/etc/rc.d")" = S95other ]
init disable IPKG_INSTROOT=
told "procd_kill" "bramble takeover --hand-back"
[ "$(tail -n 1 "$diary")" = "bramble takeover --hand-back" ]

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
