# $1: how many of this package are left.
systemctl daemon-reload || :
if [ "$1" -ge 1 ]; then
    systemctl try-restart observer.service || :
else
    # The package has no entries for directories: those that are empty now go here, others stay with what is in them.
    for directory in /usr/share/observer/grafana /usr/share/observer/prometheus /usr/share/observer/schema \
        /usr/share/observer/sigma /usr/share/observer /usr/share/doc/observer /usr/share/licenses/observer \
        /etc/observer /var/lib/observer /var/log/observer /run/observer; do
        rmdir "$directory" 2>/dev/null || :
    done
fi
