"""Operations: opened, leased, advanced, ended; and the line in which they wait."""
