# What the project needs beyond Rust and git, by Debian's package names (12 and 13 have the same), and how it is
# installed. Sourced by `run` and `test`.

# To build: C headers for the display stack, libclang for bindgen.
build_packages=(gcc libc6-dev linux-libc-dev pkg-config libclang-dev libseat-dev libinput-dev libgbm-dev libudev-dev
    libxkbcommon-dev libpixman-1-dev)
# To run: EGL and GLES for clients, Vulkan for the map (Mesa brings a software driver of each), keyboard layouts, a
# seat, and a terminal to open in the session.
run_packages=(libegl1 libegl-mesa0 libgles2 libgl1-mesa-dri libvulkan1 mesa-vulkan-drivers xkb-data seatd foot
    xwayland)
# To run in a window of a desktop: what that desktop's programs have anyway.
run_packages+=(libwayland-client0 libwayland-cursor0 libwayland-egl1 libx11-6 libx11-xcb1 libxcursor1 libxi6 libxkbcommon-x11-0)
# To test: real programs to watch, real clients to show, and a desktop to run in.
test_packages=(strace python3 redis-server sqlite3 weston wayland-utils wlcs fonts-dejavu-core grim xvfb x11-apps
    x11-utils)
# Copy and paste, and a hand on the desktop.
test_packages+=(xclip xdotool wl-clipboard)

# Installs what of its arguments is missing; asks for root only then.
install_packages() {
    local missing=() package
    for package in "$@"; do
        [[ $(dpkg-query -Wf '${Status}' "$package" 2>/dev/null) = 'install ok installed' ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    echo "installing ${missing[*]}" >&2
    local as_root=()
    if ((EUID)); then
        command -v sudo >/dev/null || {
            echo "these packages must be installed by root first: apt-get install ${missing[*]}" >&2
            return 1
        }
        as_root=(sudo)
    fi
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}" >&2
}
