# $1: how many of this package will be left.
if [ "$1" -eq 0 ]; then
    systemctl --no-reload disable --now observer.service || :
fi
