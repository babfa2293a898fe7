#!/bin/sh
# shellcheck shell=dash
# procd as an init script meets it, as far as ours uses it: a service with one instance, its triggers and its data. Sourced by
# openwrt/test.sh in the place of procd.sh; what happens is written to $DIARY, what procd knows is kept below $STATE.
#
# Source: procd's service/service.c and service/instance.c, and procd.sh of OpenWrt 24.10.
#
# - `set` compares: an instance that runs and is the same goes on, one that is missing is ended. The service stays with its
#   triggers, though it has no instance.
# - `delete` ends the instance, and takes the triggers away only when its process has ended.
# - Data (here always of `firewall`) are told of whenever a description has some, and when an instance that had some goes.
#   They are no part of what restarts an instance.

MESSAGE=$STATE/message

say() { echo "$*" >>"$DIARY"; }

# happened TYPE [NAME]: what procd and firewall4 do then.
happened() {
	case "$1 $2" in "service.data.update firewall" | "config.change firewall") say "fw4 reload" ;; esac
	if grep -qxF -- "$1 $2" "$STATE/triggers" 2>/dev/null; then touch "$STATE/queue"; fi
}

rc_procd() {
	rm -rf "$MESSAGE"
	mkdir "$MESSAGE"
	"$@"
	service_triggers
	procd_set
}

procd_set() {
	rm -f "$STATE/deleted" "$STATE/triggers"
	[ ! -e "$MESSAGE/triggers" ] || cp "$MESSAGE/triggers" "$STATE/triggers"
	if [ -e "$MESSAGE/instance" ]; then
		[ ! -e "$MESSAGE/data" ] || happened service.data.update firewall
		if [ -e "$STATE/ending" ]; then
			rm "$STATE/ending"
			say "daemon restarted"
		elif [ ! -e "$STATE/alive" ]; then
			touch "$STATE/alive"
			say "daemon started"
		elif ! cmp -s "$MESSAGE/instance" "$STATE/instance"; then
			say "daemon restarted"
		elif [ -e "$STATE/data" ] && ! cmp -s "$MESSAGE/data" "$STATE/data"; then
			happened service.data.update firewall
		fi
		cp "$MESSAGE/instance" "$STATE/instance"
		rm -f "$STATE/data"
		[ ! -e "$MESSAGE/data" ] || cp "$MESSAGE/data" "$STATE/data"
	else
		procd_end
	fi
}

procd_end() {
	[ -e "$STATE/instance" ] || return 0
	say "daemon told to end"
	touch "$STATE/ending"
}

procd_kill() {
	touch "$STATE/deleted"
	procd_end
}

# Afterwards: processes have ended.
procd_settle() {
	if [ -e "$STATE/ending" ]; then
		say "daemon ended"
		[ ! -e "$STATE/data" ] || happened service.data.update firewall
		rm -f "$STATE/ending" "$STATE/alive" "$STATE/instance" "$STATE/data"
	fi
	if [ -e "$STATE/deleted" ]; then rm -f "$STATE/deleted" "$STATE/triggers"; fi
}

procd_running() { [ -e "$STATE/alive" ]; }
procd_send_signal() { say procd_send_signal "$@"; }
procd_set_config_changed() { happened config.change "$1"; }

procd_open_instance() {
	say procd_open_instance
	: >"$MESSAGE/instance"
}
procd_close_instance() { :; }
procd_set_param() {
	say procd_set_param "$@"
	echo "$*" >>"$MESSAGE/instance"
}
procd_open_data() { : >"$MESSAGE/data"; }
procd_close_data() { :; }

trigger() {
	[ ! -d "$MESSAGE" ] || echo "$*" >>"$MESSAGE/triggers"
}
procd_add_reload_trigger() {
	local name
	say procd_add_reload_trigger "$@"
	for name; do trigger config.change "$name"; done
}
procd_add_reload_interface_trigger() {
	say procd_add_reload_interface_trigger "$@"
	trigger "interface.*" "$1"
}
procd_add_raw_trigger() { trigger "$1"; }
procd_add_validation() { say procd_add_validation "$@"; }

json_add_array() { say array "$@"; }
json_close_array() { :; }
json_add_object() { :; }
json_close_object() { say rule; }
json_add_string() {
	say "string $*"
	echo "$*" >>"$MESSAGE/data"
}
