# $1: how many of this package there are, this one included.
systemd-sysusers observer.conf || :
systemd-tmpfiles --create observer.conf || :
systemctl daemon-reload || :
if [ "$1" -eq 1 ]; then
    systemctl preset observer.service || :
fi
