int main(int count, char **names) { return count + !names; }
