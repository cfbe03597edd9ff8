"""What every subject of the record needs: ids, transitions, alarms, the hand-over to workers."""
