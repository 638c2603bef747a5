# What is installed besides the binary, and where: mode, file here, file there. Sourced by `install` and `uninstall` with
# $prefix set.
# shellcheck shell=bash disable=SC2034,SC2154
bindir=$prefix/bin
docdir=$prefix/share/doc/memory-glass
files=(
    "0755 session/memory-glass-session $bindir/memory-glass-session"
    "0644 session/memory-glass.desktop $prefix/share/wayland-sessions/memory-glass.desktop"
    "0644 session/memory-glass.service $prefix/lib/systemd/user/memory-glass.service"
    "0644 session/memory-glass-shutdown.target $prefix/lib/systemd/user/memory-glass-shutdown.target"
    "0644 session/memory-glass-kiosk@.service $prefix/lib/systemd/system/memory-glass-kiosk@.service"
    "0644 session/memory-glass-broker.socket $prefix/lib/systemd/system/memory-glass-broker.socket"
    "0644 session/memory-glass-broker.service $prefix/lib/systemd/system/memory-glass-broker.service"
    "0644 session/memory-glass.sysusers $prefix/lib/sysusers.d/memory-glass.conf"
    "0644 session/policy.toml $docdir/policy.toml"
    "0644 session/memory-glass-portals.conf $prefix/share/xdg-desktop-portal/memory-glass-portals.conf"
    "0644 session/config.toml $docdir/config.toml"
)
