# Cleans up after a server whose owner is gone.
#
# $1: the server's folder.  $2: the signal that ends the server at once.
# Standard input is a pipe that only the owner writes to: a process number at each start, "down" when the server
# was stopped or killed, "done" when the owner has cleaned up itself. When the owner dies, however it dies, the
# pipe ends.
trap '' HUP INT TERM
pid=down
while read -r word; do
    [ "$word" = done ] && exit 0
    pid=$word
done
if [ "$pid" != down ]; then
    kill -CONT "$pid" && kill "-$2" "$pid"
    waited=0
    while [ "$waited" -lt 100 ] && kill -0 "$pid"; do
        sleep 0.1
        waited=$((waited + 1))
    done
    kill -KILL "$pid"
fi
rm -rf -- "$1"
